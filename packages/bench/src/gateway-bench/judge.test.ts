import assert from 'node:assert/strict';
import { test } from 'node:test';
import { judge, rowsOf } from './judge.ts';
import { type CpuSnapshot, cpuBetween, cpuSnapshot, rssBytes } from './process-stats.ts';
import { ceilingWarnings, chooseGroups, readScenarios, takeRounds } from './run.ts';
import type { Bar, Sample } from './types.ts';

const sample = (over: Partial<Sample>): Sample => ({
  group: 'plain',
  cell: 'a',
  forwarder: 'nginx',
  round: 0,
  requests: 1000,
  requestsPerS: 1000,
  cpuUs: 20,
  p50Ms: 1,
  p99Ms: 2,
  gapMaxMs: null,
  gapP99Ms: null,
  rssAddedBytes: null,
  rssBytes: 0,
  ratePerS: null,
  generatorCpu: 0.5,
  invalid: [],
  ...over,
});

const bar = (over: Partial<Bar>): Bar => ({
  id: 'P1',
  forwarder: 'ours',
  cells: ['a'],
  figure: 'cpu',
  against: 'nginx',
  most: 1,
  stretch: 0.85,
  ...over,
});

test('a bar is judged by the median of per-round ratios, not by a ratio of medians', () => {
  // Ratios 0.5, 2 and 2; the ratio of the medians would be 1.
  const samples = [
    [10, 20],
    [20, 10],
    [80, 40],
  ].flatMap(([ours, theirs], round) => [
    sample({ forwarder: 'ours', round, cpuUs: ours! }),
    sample({ round, cpuUs: theirs! }),
  ]);
  const [judged] = judge({ groups: [], bars: [bar({})] }, samples);
  assert.deepEqual(judged!.found, { median: 2, low: 0.5, high: 2 });
  assert.equal(judged!.verdict, 'missed');
  assert.equal(judge({ groups: [], bars: [bar({ most: 2 })] }, samples)[0]!.verdict, 'met');
  const row = rowsOf(samples, 'nginx').find(({ forwarder }) => forwarder === 'ours')!;
  assert.deepEqual(row.cpuRatio, { median: 2, low: 0.5, high: 2 });
});

test('a run with a wrong answer proves nothing', () => {
  const samples = [
    sample({ forwarder: 'ours', cpuUs: 1, invalid: ['1 wrong bodies'] }),
    sample({}),
  ];
  const [judged] = judge({ groups: [], bars: [bar({})] }, samples);
  assert.equal(judged!.verdict, 'unknown');
});

test('a bar is not met by the few rounds that went right', () => {
  const rounds = (wrong: number) =>
    Array.from({ length: 5 }, (_, round) => [
      sample({ forwarder: 'ours', round, cpuUs: 10, invalid: round < wrong ? ['502'] : [] }),
      sample({ round }),
    ]).flat();
  const verdict = (wrong: number) =>
    judge({ groups: [], bars: [bar({ most: 0.9, stretch: 0.1 })] }, rounds(wrong))[0]!.verdict;
  assert.equal(verdict(0), 'met');
  assert.equal(verdict(2), 'met');
  assert.equal(verdict(3), 'unknown');
});

test('added latency is that above direct in the same round', () => {
  const samples = [
    sample({ forwarder: 'direct', p50Ms: 1 }),
    sample({ p50Ms: 3 }),
    sample({ forwarder: 'ours', p50Ms: 2 }),
  ];
  const [judged] = judge({ groups: [], bars: [bar({ figure: 'addedP50' })] }, samples);
  assert.equal(judged!.found!.median, 0.5);
  assert.equal(judged!.verdict, 'stretch');
});

test('every bar names cells and forwarders that exist', () => {
  const { groups, bars } = readScenarios();
  for (const { cells, forwarder, against } of bars) {
    for (const cell of cells) {
      const group = groups.find((one) => one.cells.some(({ id }) => id === cell));
      assert.ok(group !== undefined, cell);
      for (const name of [forwarder, against ?? forwarder]) {
        assert.ok(group.forwarders.includes(name), `${name} in ${cell}`);
      }
    }
  }
});

test('--only takes bars, groups and cells and refuses what is unknown', () => {
  const scenarios = readScenarios();
  const cells = chooseGroups(scenarios, ['p3', 'sse-512']).flatMap((group) => group.cells);
  assert.deepEqual(
    cells.map(({ id }) => id),
    ['pipelined-50B-c400', 'sse-512'],
  );
  assert.throws(() => chooseGroups(scenarios, ['P99']), /P99/);
});

test('a forwarder near the direct baseline is told of', () => {
  const direct = sample({ forwarder: 'direct', requestsPerS: 1050 });
  assert.equal(ceilingWarnings([direct, sample({})]).length, 1);
  assert.equal(ceilingWarnings([direct, sample({ requestsPerS: 900 })]).length, 0);
});

test('one window is read by one clock: nanoseconds, or ticks at both ends once a thread has ended', () => {
  const of = (ticksUs: number, threads: [string, number][], waitedTicksUs = 0): CpuSnapshot =>
    new Map([[7, { ticksUs, waitedTicksUs, threads: new Map(threads) }]]);
  // 190 ms ended with other threads before the window: the clocks differ by that, and it is no matter.
  const before = of(1_190_000, [['1', 900_000]]);
  const grown = of(1_290_000, [
    ['1', 990_123],
    ['2', 5000],
  ]);
  assert.equal(cpuBetween(before, grown), 95_123);
  assert.equal(cpuBetween(before, of(1_290_000, [['2', 5000]])), 100_000);
  assert.equal(cpuBetween(before, of(1_290_000, [['1', 990_123]], 30_000)), 120_123);
  // A child that was started within the window counts whole.
  const child: CpuSnapshot = new Map([
    ...grown,
    [8, { ticksUs: 20_000, waitedTicksUs: 0, threads: null }],
  ]);
  assert.equal(cpuBetween(before, child), 115_123);
});

test('CPU time and memory of a process are read from the system', {
  skip: process.platform === 'linux' ? false : 'needs /proc',
}, () => {
  const before = cpuSnapshot(process.pid);
  const endMs = performance.now() + 150;
  while (performance.now() < endMs);
  const used = cpuBetween(before, cpuSnapshot(process.pid));
  // At least some of the time was ours, on however busy a machine; other threads may add to it.
  assert.ok(used > 10_000 && used < 2_000_000, String(used));
  assert.ok(rssBytes(process.pid) > 1024 * 1024);
});

test('a budget ends the rounds before one that would not fit, but never before the first', async () => {
  const blocks = async (rounds: number, endMs: number | null, perBlock: number) => {
    let nowMs = 0;
    const seen: string[] = [];
    const done = await takeRounds(
      { rounds, endMs },
      perBlock,
      async (first, last) => {
        seen.push(`${first}-${last}`);
        nowMs += first === 0 ? 100 : 90;
      },
      () => nowMs,
    );
    return [done, seen.join(' ')];
  };
  assert.deepEqual(await blocks(5, null, 3), [5, '0-3 3-5']);
  assert.deepEqual(await blocks(3, null, 1), [3, '0-1 1-2 2-3']);
  assert.deepEqual(await blocks(1, 10, 1), [1, '0-1']);
  assert.deepEqual(await blocks(9, 10, 1), [1, '0-1']);
  // At 190 a round as long as the longest still fits, at 280 it does not.
  assert.deepEqual(await blocks(9, 290, 1), [3, '0-1 1-2 2-3']);
  assert.deepEqual(await blocks(Number.POSITIVE_INFINITY, 200, 3), [6, '0-3 3-6']);
});

test('a figure without a bar is told and not judged', () => {
  const { most: _, stretch: __, ...open } = bar({});
  const samples = [sample({ forwarder: 'ours', cpuUs: 90 }), sample({})];
  const [judged] = judge({ groups: [], bars: [open] }, samples);
  assert.equal(judged!.verdict, 'reported');
  assert.equal(judged!.found!.median, 4.5);
  assert.doesNotMatch(judged!.text, /at most|at least/);
});
