import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as oracle from 'simple-statistics';
import { bootstrap, expandedTail, studentInterval, studentPValue } from './bootstrap.ts';
import {
  geometricMean,
  holm,
  mean,
  median,
  quantileSorted,
  ranks,
  standardDeviation,
  trend,
} from './describe.ts';
import { normalCdf, studentQuantile, studentTwoSided } from './distributions.ts';
import { normal, seededRandom } from './random.ts';

const close = (actual: number, expected: number, tolerance = 1e-9) =>
  assert.ok(
    Math.abs(actual - expected) <= tolerance * Math.max(1, Math.abs(expected)),
    `${actual} is not ${expected}`,
  );

function samples(count: number, seed: number): number[] {
  const random = seededRandom(seed);
  return Array.from({ length: count }, () => Math.exp(normal(random)));
}

test('order statistics agree with simple-statistics', () => {
  for (const count of [1, 2, 3, 10, 11, 500]) {
    const values = samples(count, count);
    close(mean(values), oracle.mean(values));
    close(median(values), oracle.median(values));
    close(geometricMean(values), oracle.geometricMean(values));
    if (count > 1) close(standardDeviation(values), oracle.sampleStandardDeviation(values));
  }
  close(quantileSorted([1, 2, 3, 4], 0.5), 2.5);
  close(quantileSorted([1, 2, 3, 4], 1), 4);
  close(quantileSorted([1, 2, 3, 4], 0.1), 1.3);
});

test('ranks share ties and the trend is that of simple-statistics', () => {
  assert.deepEqual(ranks([30, 10, 20, 10]), [4, 1.5, 3, 1.5]);
  const values = samples(12, 5).map((value, index) => value + index / 4);
  const places = values.map((_, index) => index + 1);
  const found = trend(values);
  close(found.rho, oracle.sampleRankCorrelation(places, values));
  const line = oracle.linearRegression(places.map((place, index) => [place, values[index]!]));
  close(found.change, line.m * (values.length - 1));
  assert.ok(trend([1, 2, 3, 4, 5, 6, 7, 8]).pValue < 1e-6);
  assert.deepEqual(trend([4, 4, 4, 4]), { rho: 0, pValue: 1, change: 0 });
});

test('Student and normal agree with printed tables', () => {
  // Two-sided 95 % and 99 % points, as any table prints them.
  for (const [df, t95, t99] of [
    [1, 12.7062, 63.6567],
    [4, 2.7764, 4.6041],
    [9, 2.2622, 3.2498],
    [19, 2.093, 2.8609],
    [1000, 1.9623, 2.5808],
  ] as const) {
    close(studentQuantile(0.95, df), t95, 1e-4);
    close(studentQuantile(0.99, df), t99, 1e-4);
    close(studentTwoSided(t95, df), 0.05, 1e-4);
  }
  for (const z of [-3, -1.96, -0.5, 0, 1, 2.58, 3.05]) {
    close(normalCdf(z), oracle.cumulativeStdNormalProbability(z), 1e-4);
  }
  close(normalCdf(1.959963985), 0.975, 1e-9);
});

test("Holm's correction gives the values worked out by hand", () => {
  // Sorted 0.005 0.01 0.03 0.04 times 4 3 2 1 = 0.02 0.03 0.06 0.04, then never falling.
  assert.deepEqual(
    holm([0.01, 0.04, 0.03, 0.005]).map((p) => Number(p.toFixed(6))),
    [0.03, 0.06, 0.06, 0.02],
  );
  assert.deepEqual(holm([0.9, 0.8]), [1, 1]);
  assert.deepEqual(holm([]), []);
});

test('the t interval and its p-value agree with each other and with simple-statistics', () => {
  const values = samples(9, 3).map((value) => value - 1.2);
  const interval = studentInterval(values, 0.95)!;
  // simple-statistics divides by n where the sample's deviation divides by n - 1.
  const t = oracle.tTest(values, 0) * Math.sqrt((values.length - 1) / values.length);
  close(studentPValue(values), studentTwoSided(t, values.length - 1));
  // At the confidence of its own p-value an interval just touches zero.
  const touching = studentInterval(values, 1 - studentPValue(values))!;
  close(Math.min(Math.abs(touching.low), Math.abs(touching.high)), 0, 1e-6);
  assert.ok(interval.low < mean(values) && mean(values) < interval.high);
  assert.equal(studentInterval([1], 0.95), null);
});

test('the bootstrap agrees with all resamples written out', () => {
  const values = [1, 2, 6, 9];
  const every: number[] = [];
  for (const a of values)
    for (const b of values)
      for (const c of values) for (const d of values) every.push((a + b + c + d) / 4);
  const exact = Float64Array.from(every).sort();
  const options = { resamples: 50_000, confidence: 0.8, seed: 4 };
  const found = bootstrap(values, 'mean', options)!;
  const tail = expandedTail(0.8, 4);
  close(found.low, quantileSorted(exact, tail), 0.15);
  close(found.high, quantileSorted(exact, 1 - tail), 0.05);
  assert.deepEqual(found, bootstrap(values, 'mean', options), 'same seed, same interval');
  assert.equal(bootstrap([1], 'mean', options), null);
});

test('the tail of few rounds is that of Hesterberg 2015, table 6', () => {
  // alpha/2 = 0.025: n = 5 -> 0.0010, n = 10 -> 0.0086, n = 20 -> 0.0159.
  close(expandedTail(0.95, 5), 0.001, 1e-4);
  close(expandedTail(0.95, 10), 0.0086, 1e-4);
  close(expandedTail(0.95, 20), 0.0159, 1e-4);
});

test('the generator of random numbers is uniform and normal enough to simulate with', () => {
  const random = seededRandom(7);
  const uniform = Array.from({ length: 20_000 }, () => random());
  assert.ok(Math.abs(mean(uniform) - 0.5) < 0.01);
  assert.ok(Math.min(...uniform) >= 0 && Math.max(...uniform) < 1);
  const deviates = Array.from({ length: 20_000 }, () => normal(random));
  assert.ok(Math.abs(mean(deviates)) < 0.03);
  assert.ok(Math.abs(standardDeviation(deviates) - 1) < 0.03);
  // Neighbouring seeds must not give neighbouring streams.
  const firsts = Array.from({ length: 200 }, (_, seed) => seededRandom(seed)());
  assert.ok(Math.abs(mean(firsts) - 0.5) < 0.08);
});
