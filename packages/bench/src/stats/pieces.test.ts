/**
 * The figure of a run in pieces, judged like everything else by simulated clients of known cost. Seeds
 * are fixed; the limits come from the stated confidence.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Measurement } from '../results/index.ts';
import { closedCell, simulateStudy } from '../results/synthetic.fixture.ts';
import { comparePairs, decide, equivalenceBand, estimateRatio } from './compare.ts';
import { CPU, Figures } from './figures.ts';
import { steadyCpuUs } from './pieces.ts';

const options = { resamples: 1000, confidence: 0.95, seed: 1 };
const cell = closedCell(10_000, 50);

const run = (entry: string, sliceCpuUs: number[], slicePasses?: number[]): Measurement => {
  const [plain] = simulateStudy({ rounds: 1, cells: [cell] }).measurements;
  const passes = slicePasses ?? sliceCpuUs.map((_, pass) => pass);
  return { ...plain!, entry, sliceCpuUs, slicePasses: passes };
};
const near = (value: number | undefined, wanted: number) =>
  assert.ok(Math.abs(value! / wanted - 1) < 1e-9, `${value}, not ${wanted}`);

test('a disturbed piece does not spoil a round, and a disturbed pass hits nobody', () => {
  const steady = steadyCpuUs([
    run('a', [10, 10, 30, 40, 10]),
    run('b', [20, 90, 20, 80, 20]),
    run('c', [30, 30, 30, 120, 30]),
    run('d', [40, 40, 40, 160, 20]),
  ]);
  near(steady.get('a'), 10);
  near(steady.get('b'), 20);
  near(steady.get('c'), 30);
  near(steady.get('d'), 40);
});

test('who had its turn only in passes that were dear for all is not dearer for it', () => {
  const passes = [1, 1, 2, 2, 2];
  const all = ['a', 'b', 'c', 'd'].map((entry) =>
    run(
      entry,
      passes.map((effect) => 50 * effect),
    ),
  );
  const steady = steadyCpuUs([...all, run('rare', [100, 100], [2, 4])]);
  near(steady.get('rare')! / steady.get('a')!, 1);
});

test('with few entries a pass is not judged: half of it would be the entry itself', () => {
  const steady = steadyCpuUs([run('a', [10, 20, 30]), run('b', [10, 20, 30])]);
  near(steady.get('a'), 20);
});

test('runs in one piece, and files from before passes were noted, keep CPU through requests', () => {
  const whole = simulateStudy({ rounds: 1, cells: [cell] });
  for (const one of whole.measurements) if (one.api !== null) one.sliceCpuUs = [1, 2, 3];
  const figures = new Figures(whole);
  for (const one of whole.measurements) {
    assert.equal(figures.cpuUs(one), one.api?.cpuPerRequestUs ?? null);
  }
});

/** Five rounds on a machine whose neighbours come and go within seconds. */
function study(seed: number, truth: Record<string, number>, steady = true) {
  const results = simulateStudy({
    seed,
    rounds: 5,
    cells: [cell],
    clients: Object.entries(truth).map(([id, cpuUs]) => ({ id, cpuUs })),
    roundNoise: 0.2,
    entryNoise: 0.02,
    pieces: { passes: 12, passNoise: 0.2, pieceNoise: 0.08, spikeShare: 0.12 },
  });
  if (!steady) for (const one of results.measurements) delete one.slicePasses;
  const figures = new Figures(results);
  const of = (entry: string) => figures.byRound(cell.id, entry, CPU.of);
  const twin = estimateRatio(of('a.twin'), of('a'), options);
  return { of, twin, band: equivalenceBand(twin, 0.03) };
}

test('the A/A twin of a study in pieces is called different no more often than the confidence allows', () => {
  let [called, excluded] = [0, 0];
  const runs = 200;
  for (let seed = 0; seed < runs; seed++) {
    const { twin } = study(seed, { a: 50, b: 60, c: 120 });
    const verdict = decide(twin, twin.pValue, Math.log(1.03), true, 0.95);
    if (verdict.outcome === 'better' || verdict.outcome === 'worse') called++;
    if (twin.tInterval!.low > 1 || twin.tInterval!.high < 1) excluded++;
  }
  // At 95 % 10 are expected of the intervals; 18 or more would happen in 1 of 100 honest series. A
  // verdict needs the band to be left as well.
  assert.ok(excluded <= 17, `${excluded} of ${runs} intervals exclude 1`);
  assert.ok(called <= 10, `${called} of ${runs} called different`);
});

test('the ratio of runs in pieces is the true one, and the intervals cover it', () => {
  let covered = 0;
  let sum = 0;
  const runs = 200;
  for (let seed = 0; seed < runs; seed++) {
    const { of } = study(seed, { a: 50, b: 60, c: 120 });
    const found = estimateRatio(of('b'), of('a'), options);
    sum += Math.log(found.ratio);
    if (found.tInterval!.low <= 1.2 && 1.2 <= found.tInterval!.high) covered++;
  }
  assert.ok(Math.abs(Math.exp(sum / runs) / 1.2 - 1) < 0.005, `${Math.exp(sum / runs)}`);
  // 95 % of 200 with a standard error of 1.5 points.
  assert.ok(covered / runs > 0.91, `${covered} of ${runs}`);
});

test('what totals leave undecided at five rounds, pieces decide, and never the wrong way round', () => {
  const decided = { steady: 0, totals: 0 };
  for (let seed = 0; seed < 100; seed++) {
    for (const how of ['steady', 'totals'] as const) {
      const { of, band } = study(seed, { a: 50, b: 62, c: 120 }, how === 'steady');
      const figures = new Map(['a', 'b', 'c'].map((id) => [id, of(id)]));
      const pairs = [['b', 'a'] as const, ['c', 'a'] as const, ['c', 'b'] as const];
      const [pair] = comparePairs(pairs, figures, band, true, options);
      assert.notEqual(pair!.outcome, 'better', `seed ${seed}, ${how}`);
      if (pair!.outcome === 'worse') decided[how]++;
    }
  }
  assert.ok(decided.steady >= 75, `${decided.steady} of 100 in pieces`);
  assert.ok(decided.totals <= 50, `${decided.totals} of 100 by totals`);
});
