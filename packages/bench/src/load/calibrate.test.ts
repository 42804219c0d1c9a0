import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RigFacts } from '../results/types.ts';
import { medianRanks } from '../stats/describe.ts';
import { judgeCalibration } from './calibrate.ts';
import { amountOf, earlierParts } from './calibrate-command.ts';
import { orderOf, ratioOf } from './calibrate-compare.ts';
import { expectedStallMs } from './calibrate-stall.ts';
import { calibrationText } from './calibrate-text.ts';
import type { Calibration, Comparison, ScenarioResult, StallResult } from './calibrate-types.ts';
import { startPaced } from './calibrate-upstream.ts';
import { sortedDelays, spreadDelays } from './paced-delays.ts';
import { sortedQuantiles } from './percentiles.ts';
import { defaultPlan } from './plan.ts';
import { runLoad } from './run.ts';

const even = { ours: 1, theirs: 1, ratio: 1, low: 0.99, high: 1.01, confidence: 0.95 };
const wrk: Comparison = { ours: 'o', theirs: 'wrk 4', requestsPerS: even, p50: even, p99: even };
const oha: Comparison = { ...wrk, theirs: 'oha 1' };

function scenario(...comparisons: Comparison[]): ScenarioResult {
  return {
    startedAt: '2026-01-01T00:00:00.000Z',
    upstream: 'u',
    rounds: 15,
    seconds: 1,
    pinned: true,
    comparisons,
    reference: null,
    upstreamMs: null,
    runs: [],
  };
}

const stall: StallResult = {
  startedAt: '2026-01-01T00:00:00.000Z',
  upstream: 'u',
  ratePerS: 1_000,
  durationMs: 10_000,
  stallMs: 1_000,
  quantiles: [{ percent: 99, expectedMs: 900, foundMs: 910, serviceMs: null }],
  completed: 10_000,
  dropped: 0,
};

test('ratios are taken per round, with an interval of their median', () => {
  // The rig was twice as fast in the second round: pairs see no difference.
  const found = ratioOf([10, 20, 30], [10, 20, 15]);
  assert.deepEqual(found, { ours: 20, theirs: 15, ratio: 1, low: 1, high: 2, confidence: 0.75 });
  // Binomial tables: of 15, four values lie on one side by chance in 1.76 % of cases.
  assert.deepEqual(medianRanks(5), { below: 0, confidence: 0.9375 });
  assert.equal(medianRanks(15).below, 3);
  assert.ok(Math.abs(medianRanks(15).confidence - 0.9648) < 1e-4);
  assert.deepEqual(medianRanks(1), { below: 0, confidence: 0 });
  const fifteen = Array.from({ length: 15 }, (_, at) => at + 1);
  const { low, high, ratio } = ratioOf(
    fifteen,
    fifteen.map(() => 1),
  );
  assert.deepEqual([low, ratio, high], [4, 8, 12]);
});

test('the generators take turns in every order', () => {
  const orders = new Set(
    Array.from({ length: 6 }, (_, at) => orderOf(['a', 'b', 'c'], at).join('')),
  );
  assert.equal(orders.size, 6);
  assert.deepEqual(orderOf(['a', 'b', 'c'], 6), orderOf(['a', 'b', 'c'], 0));
});

test('a missed bar is called missed', () => {
  assert.equal(expectedStallMs(95, 1_000, 10_000), 500);
  assert.equal(expectedStallMs(80, 1_000, 10_000), 0);
  const all = { spread: scenario(wrk, oha), 'flat-out': scenario(wrk, oha), stall };
  const bars = judgeCalibration(all);
  assert.equal(bars.length, 3 + 3 + 1 + 2);
  assert.ok(bars.every(({ passed }) => passed));
  const slow = { ...even, ratio: 1.06 };
  const missed = (parts: Calibration['parts']): string[] =>
    judgeCalibration(parts)
      .filter(({ passed }) => !passed)
      .map(({ text }) => text.split(' ')[0]!);
  assert.deepEqual(missed({ spread: scenario({ ...wrk, p99: slow }) }), ['p99']);
  assert.deepEqual(missed({ 'in-step': scenario({ ...wrk, p99: slow }) }), ['p99']);
  assert.deepEqual(missed({ spread: scenario(wrk, { ...oha, p50: { ...even, ratio: 0.94 } }) }), [
    'p50',
  ]);
  assert.deepEqual(missed({ 'flat-out': scenario({ ...wrk, p99: slow, p50: slow }) }), []);
  const half = { ...even, ratio: 0.49 };
  assert.deepEqual(missed({ 'flat-out': scenario({ ...wrk, requestsPerS: half }) }), [
    'requests/sec',
  ]);
  const low = { ...stall, quantiles: [{ ...stall.quantiles[0]!, foundMs: 800 }] };
  assert.deepEqual(missed({ stall: low }), ['p99']);
  assert.deepEqual(missed({ stall: { ...stall, completed: 9_999 } }), ['every']);
  const text = calibrationText({
    kind: 'onehop-calibration',
    schemaVersion: 2,
    rig: { generator: 'onehop load on x' } as RigFacts,
    bars: judgeCalibration({ ...all, stall: low }),
    parts: { ...all, stall: low },
    leftOut: ['oha was not found on PATH'],
  });
  assert.match(text, /8 of 9 bars passed/);
  assert.match(text, /missed.* stall: p99 within 5 % of 900 ms: 0\.889/);
  assert.match(text, /passed.* spread: p99 within 5 % of wrk 4's: 1\.000 \(0\.990-1\.010\)/);
  assert.match(text, /left out: oha/);
});

test('parts stay in the file only beside parts of the same code and machine', () => {
  const rig = { commit: 'abc', generator: 'onehop load on bun 1' } as RigFacts;
  const file = { kind: 'onehop-calibration', schemaVersion: 2, rig, parts: { stall } };
  const text = JSON.stringify(file);
  assert.deepEqual(earlierParts(text, rig), { stall });
  assert.deepEqual(earlierParts(text, { ...rig, commit: 'def' }), {});
  const dirty = { ...rig, commit: 'abc-dirty' };
  assert.deepEqual(earlierParts(JSON.stringify({ ...file, rig: dirty }), dirty), {});
  assert.deepEqual(earlierParts(JSON.stringify({ ...file, schemaVersion: 1 }), rig), {});
  assert.deepEqual(earlierParts('{"kind"', rig), {});
});

test('the delays of the upstream are known and give wrk nothing to correct', () => {
  const sorted = sortedDelays();
  const { at, mean } = sortedQuantiles(sorted);
  assert.ok(Math.abs(at(50) - 5) < 0.01, `${at(50)}`);
  // exp(0.2 * 2.326): the 99th percentile of the standard normal distribution.
  assert.ok(Math.abs(at(99) / (5 * Math.exp(0.2 * 2.3263)) - 1) < 0.01, `${at(99)}`);
  assert.ok(at(100) < 2 * mean, `${at(100)} ms, mean ${mean} ms`);
  const shuffled = spreadDelays();
  assert.deepEqual(shuffled, spreadDelays());
  assert.notDeepEqual(shuffled, sorted);
  assert.deepEqual(shuffled.toSorted(), sorted);
});

test('the spread upstream waits as long as it says', async () => {
  const upstream = await startPaced('spread');
  try {
    const plan = defaultPlan(upstream.url, { connections: 4, requests: 1_000, connectFirst: true });
    const result = await runLoad(plan);
    assert.equal(result.valid, 1_000);
    const sorted = sortedDelays();
    // On a busy machine answers come later, never earlier.
    const { min } = result.latencyMs;
    assert.ok(min >= sorted[0]! - 0.01 && min < sorted[0]! + 10, `${min}`);
    for (const share of [0.25, 0.5, 0.9]) {
      const found = result.quantilesMs[share * 100]!;
      const waited = sorted[share * sorted.length]!;
      assert.ok(found > waited - 0.05 && found < waited + 200, `${share}: ${found}, ${waited} ms`);
    }
  } finally {
    await upstream.stop();
  }
});

test('answers in step are compared over more instants than a second has', () => {
  assert.deepEqual(amountOf('spread', 15, 1), { rounds: 15, seconds: 1 });
  // Nine rounds give the median an interval of 95 % that is not all of them.
  assert.deepEqual(amountOf('in-step', 15, 1), { rounds: 9, seconds: 2 });
  assert.ok(medianRanks(9).below > 0);
  assert.deepEqual(amountOf('flat-out', 15, 1), { rounds: 5, seconds: 1 });
  assert.deepEqual(amountOf('in-step', 3, 1), { rounds: 3, seconds: 2 });
});
