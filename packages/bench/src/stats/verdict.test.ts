/**
 * The oracle: clients whose true ratio is known, with the noise of a shared machine. Seeds are fixed,
 * so each count below is the same on every run; limits come from the stated confidence, not from
 * what was seen.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { IntervalOptions } from './bootstrap.ts';
import {
  type ByRound,
  comparePairs,
  decide,
  equivalenceBand,
  estimateRatio,
  type RatioEstimate,
} from './compare.ts';
import { normal, seededRandom } from './random.ts';
import { letter, rank } from './ranking.ts';

const options: IntervalOptions = { resamples: 2000, confidence: 0.95, seed: 1 };

interface Noise {
  rounds: number;
  roundNoise: number;
  entryNoise: number;
}

/** Figures per entry and round: truth times shared round effect times own noise. */
function simulate(truth: Record<string, number>, seed: number, noise: Noise): Map<string, ByRound> {
  const random = seededRandom(seed * 7919 + 13);
  const figures = new Map(Object.keys(truth).map((name) => [name, new Map<number, number>()]));
  for (let round = 0; round < noise.rounds; round++) {
    const shared = Math.exp(normal(random) * noise.roundNoise);
    for (const [name, cost] of Object.entries(truth)) {
      figures.get(name)!.set(round, cost * shared * Math.exp(normal(random) * noise.entryNoise));
    }
  }
  return figures;
}

const bandOf = (figures: ReadonlyMap<string, ByRound>) =>
  equivalenceBand(estimateRatio(figures.get('twin')!, figures.get('a')!, options), 0.03);

test('clients of known cost are ranked rightly at 10 and 20 rounds', () => {
  const truth = { a: 60, twin: 60, b: 80, c: 110, d: 112, e: 260 };
  for (const rounds of [10, 20]) {
    for (let seed = 0; seed < 25; seed++) {
      const figures = simulate(truth, seed, { rounds, roundNoise: 0.2, entryNoise: 0.02 });
      const band = bandOf(figures);
      figures.delete('twin');
      const { ranked } = rank(figures, band, true, options);
      const names = ranked.map((row) => row.entry).join('');
      assert.match(names, /^ab(cd|dc)e$/, `seed ${seed}, ${rounds} rounds`);
      assert.deepEqual(
        [ranked[0]!.group, ranked[1]!.group, ranked[2]!.group, ranked[4]!.group],
        ['A', 'B', 'C', 'D'],
        `seed ${seed}, ${rounds} rounds`,
      );
      // c and d differ by 1.8 %, less than the band: never told apart.
      assert.match(ranked[3]!.group, /^C\??$/);
    }
  }
});

test('no verdict is ever the wrong way round, whatever the noise', () => {
  for (const entryNoise of [0.01, 0.05, 0.15, 0.4]) {
    for (const rounds of [5, 10, 20]) {
      for (let seed = 0; seed < 20; seed++) {
        const truth = { a: 100, twin: 100, b: 106, c: 130 };
        const figures = simulate(truth, seed, { rounds, roundNoise: 0.1, entryNoise });
        const band = bandOf(figures);
        const pairs = [
          ['b', 'a'],
          ['c', 'a'],
          ['c', 'b'],
        ] as const;
        for (const pair of comparePairs(pairs, figures, band, true, options)) {
          assert.notEqual(pair.outcome, 'better', `${pair.a}/${pair.b} seed ${seed}`);
          if (pair.a === 'c') assert.notEqual(pair.outcome, 'tied', `seed ${seed}`);
        }
      }
    }
  }
});

test('equal clients are called tied when the noise is small, and hardly ever different', () => {
  let tied = 0;
  let different = 0;
  for (let seed = 0; seed < 100; seed++) {
    const figures = simulate({ a: 100, twin: 100, b: 100 }, seed, {
      rounds: 10,
      roundNoise: 0.1,
      entryNoise: 0.015,
    });
    const [pair] = comparePairs([['b', 'a']], figures, bandOf(figures), true, options);
    if (pair!.outcome === 'tied') tied++;
    if (pair!.outcome === 'better' || pair!.outcome === 'worse') different++;
  }
  assert.ok(tied >= 95, `${tied} of 100 tied`);
  assert.equal(different, 0);
});

test('the A/A twin is called different no more often than the confidence allows', () => {
  for (const noise of [
    { rounds: 5, roundNoise: 0.2, entryNoise: 0.03 },
    { rounds: 10, roundNoise: 0.2, entryNoise: 0.03 },
    { rounds: 20, roundNoise: 0.2, entryNoise: 0.1 },
  ]) {
    let called = 0;
    let excluded = 0;
    for (let seed = 0; seed < 100; seed++) {
      const figures = simulate({ a: 100, twin: 100 }, seed, noise);
      const twin = estimateRatio(figures.get('twin')!, figures.get('a')!, options);
      // Judged by the smallest band, not by the one it widens itself.
      const verdict = decide(twin, twin.pValue, Math.log(1.03), true, 0.95);
      if (verdict.outcome === 'better' || verdict.outcome === 'worse') called++;
      if (twin.interval!.low > 1 || twin.interval!.high < 1) excluded++;
    }
    assert.equal(called, 0, `${noise.rounds} rounds: the verdict`);
    // 5 are expected at 95 %; 11 or more would happen in 1 of 100 honest series.
    assert.ok(excluded <= 10, `${noise.rounds} rounds: ${excluded} of 100 intervals exclude 1`);
  }
});

test('among equal clients no more studies call any pair different than the confidence allows', () => {
  const runs = 200;
  for (const entryNoise of [0.02, 0.05, 0.15, 0.4]) {
    for (const rounds of [5, 6, 10]) {
      let wrong = 0;
      for (let seed = 0; seed < runs; seed++) {
        const truth = { a: 100, twin: 100, b: 100, c: 100, d: 100 };
        const figures = simulate(truth, seed, { rounds, roundNoise: 0.2, entryNoise });
        const band = bandOf(figures);
        figures.delete('twin');
        const { pairs } = rank(figures, band, true, options);
        if (pairs.some(({ outcome }) => outcome === 'better' || outcome === 'worse')) wrong++;
      }
      // 5 % of 200 are allowed; 18 or more would happen in 1 of 100 honest series.
      assert.ok(wrong <= 17, `noise ${entryNoise}, ${rounds} rounds: ${wrong} of ${runs}`);
    }
  }
});

test('the band holds how far the twin is off and a standard error, not its whole interval', () => {
  const estimate = (twin: number, standardError: number): RatioEstimate => ({
    ratio: twin,
    interval: { low: twin / 1.2, high: twin * 1.2 },
    tInterval: { low: twin / 1.2, high: twin * 1.2 },
    pValue: 0.5,
    standardError,
    rounds: 5,
    crude: true,
  });
  assert.equal(equivalenceBand(null, 0.03), Math.log(1.03));
  assert.equal(equivalenceBand(estimate(1.01, 0.01), 0.03), Math.log(1.03));
  assert.equal(equivalenceBand(estimate(1.08, 0.02), 0.03), Math.log(1.08) + 0.02);
  assert.equal(equivalenceBand(estimate(0.9, 0.02), 0.03), -Math.log(0.9) + 0.02);
});

test('the intervals cover the truth about as often as they say', () => {
  for (const rounds of [5, 10, 20]) {
    let byBootstrap = 0;
    let byStudent = 0;
    const runs = 400;
    for (let seed = 0; seed < runs; seed++) {
      const figures = simulate({ a: 100, b: 131 }, seed, {
        rounds,
        roundNoise: 0.2,
        entryNoise: 0.08,
      });
      const found = estimateRatio(figures.get('b')!, figures.get('a')!, options);
      if (found.interval!.low <= 1.31 && 1.31 <= found.interval!.high) byBootstrap++;
      if (found.tInterval!.low <= 1.31 && 1.31 <= found.tInterval!.high) byStudent++;
    }
    // 95 % of 400 with a standard error of 1.1 points.
    assert.ok(byStudent / runs > 0.92 && byStudent / runs < 0.98, `t ${rounds}: ${byStudent}`);
    assert.ok(byBootstrap / runs > 0.9, `bootstrap, ${rounds} rounds: ${byBootstrap} of ${runs}`);
    assert.ok(byBootstrap / runs < 0.985, `bootstrap, ${rounds} rounds: ${byBootstrap} of ${runs}`);
  }
});

test('large noise is undecided, not tied: a wide A/A interval does not make everything equal', () => {
  let undecided = 0;
  for (let seed = 0; seed < 40; seed++) {
    const figures = simulate({ a: 100, twin: 100, b: 108 }, seed, {
      rounds: 10,
      roundNoise: 0.2,
      entryNoise: 0.5,
    });
    const [pair] = comparePairs([['b', 'a']], figures, bandOf(figures), true, options);
    assert.notEqual(pair!.outcome, 'tied', `seed ${seed}`);
    if (pair!.outcome === 'undecided') undecided++;
  }
  assert.ok(undecided >= 39, `${undecided} of 40`);
});

test('too few rounds are undecided however clear, few rounds are provisional', () => {
  const at = (rounds: number) => {
    const figures = simulate({ a: 100, b: 300 }, 1, { rounds, roundNoise: 0.1, entryNoise: 0.01 });
    return comparePairs([['b', 'a']], figures, Math.log(1.03), true, options)[0]!;
  };
  for (const rounds of [0, 1, 2, 4]) {
    assert.equal(at(rounds).outcome, 'undecided');
    assert.match(at(rounds).reason, /too few rounds/);
  }
  assert.deepEqual([at(5).outcome, at(5).provisional, at(5).crude], ['worse', true, true]);
  assert.deepEqual([at(9).outcome, at(9).provisional], ['worse', true]);
  assert.deepEqual([at(10).outcome, at(10).provisional, at(10).crude], ['worse', false, false]);
});

test('rounds that one side missed are left out pair by pair', () => {
  const figures = simulate({ a: 100, b: 200 }, 3, {
    rounds: 12,
    roundNoise: 0.3,
    entryNoise: 0.01,
  });
  (figures.get('a') as Map<number, number>).delete(2);
  (figures.get('b') as Map<number, number>).delete(7);
  const found = estimateRatio(figures.get('b')!, figures.get('a')!, options);
  assert.equal(found.rounds, 10);
  assert.ok(Math.abs(found.ratio - 2) < 0.03);
});

test('the direction follows the metric', () => {
  const estimate: RatioEstimate = {
    ratio: 1.5,
    interval: { low: 1.4, high: 1.6 },
    tInterval: { low: 1.4, high: 1.6 },
    pValue: 1e-6,
    standardError: 0.02,
    rounds: 10,
    crude: false,
  };
  assert.equal(decide(estimate, 1e-6, 0.03, true, 0.95).outcome, 'worse');
  assert.equal(decide(estimate, 1e-6, 0.03, false, 0.95).outcome, 'better');
  assert.equal(decide(estimate, 0.2, 0.03, false, 0.95).outcome, 'undecided');
  const inside = { low: 0.98, high: 1.02 };
  const tie = { ...estimate, ratio: 1, interval: inside, tInterval: inside };
  assert.equal(decide(tie, 1, 0.03, true, 0.95).outcome, 'tied');
  const wide = decide({ ...tie, tInterval: { low: 0.9, high: 1.1 } }, 1, 0.03, true, 0.95);
  assert.equal(wide.outcome, 'undecided', 'both intervals must agree');
});

test('groups are lettered beyond Z', () => {
  assert.deepEqual([letter(0), letter(25), letter(26), letter(52)], ['A', 'Z', 'AA', 'BA']);
});
