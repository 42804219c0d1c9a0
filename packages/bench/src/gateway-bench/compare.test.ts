import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compareRevisions, judgeRatios, pooled } from './compare.ts';
import { readScenarios } from './run.ts';
import { loadsName } from './text.ts';
import type { AgainstBars, Cell, Group, Sample } from './types.ts';

const cell = (id: string, over: Partial<Cell> = {}): Cell => ({
  id,
  bars: ['P1'],
  kind: 'closed',
  path: '/50',
  connections: 10,
  ...over,
});

const group = (...cells: Cell[]): Group => ({
  id: 'g',
  mode: { buffering: true, pipelining: 1, connections: 1 },
  forwarders: ['onehop-bun'],
  cells,
});

const sample = (forwarder: string, round: number, over: Partial<Sample> = {}): Sample => ({
  group: 'g',
  cell: 'a',
  forwarder,
  round,
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

const bars: AgainstBars = { most: 1.02, onlyReported: [] };
const byRound = (ratios: readonly number[]): Map<number, number> => new Map(ratios.entries());
const verdictOf = (ratios: readonly number[], most = 1.02) =>
  judgeRatios(byRound(ratios), most, ratios.length).verdict;

test('a ratio pairs the two windows of one round, whatever the rounds differ by', () => {
  // The machine is twice as slow from round to round; new costs 1 % more in each.
  const samples = [10, 20, 40, 80, 160].flatMap((us, round) => [
    sample('onehop-bun', round, { cpuUs: us * 1.01 }),
    sample('onehop-bun@old', round, { cpuUs: us, requestsPerS: 500 }),
    sample('nginx', round),
  ]);
  const [cpu, rate, ...rest] = compareRevisions([group(cell('a'))], samples, bars);
  assert.deepEqual(rest, []);
  assert.equal(cpu!.figure, 'cpu');
  assert.equal(cpu!.forwarder, 'onehop-bun');
  for (const { ratio } of cpu!.ratios) assert.ok(Math.abs(ratio - 1.01) < 1e-9);
  assert.equal(cpu!.verdict, 'met');
  assert.equal(rate!.figure, 'requestsPerS');
  assert.deepEqual(rate!.found, { median: 2, low: 2, high: 2 });
  assert.equal(rate!.verdict, 'reported');
});

test('only an interval that lies wholly on one side of the bar is a verdict', () => {
  assert.equal(verdictOf([0.99, 1, 1.01, 1.02, 1]), 'met');
  assert.equal(verdictOf([1.03, 1.04, 1.05, 1.1, 1.2]), 'missed');
  // The median is below, but one round of five is not.
  assert.equal(verdictOf([0.99, 1, 1.01, 1.03, 1]), 'undecided');
  // The median is above, but one round of five is not.
  assert.equal(verdictOf([1.03, 1.04, 1.05, 1.1, 1.01]), 'undecided');
  // Of nine rounds the interval leaves out the lowest and the highest.
  assert.equal(verdictOf([0.9, 1, 1, 1, 1, 1, 1, 1, 1.3]), 'met');
  assert.equal(verdictOf([1.03, 1.04, 1.05, 1.1, 1.2], 1.3), 'met');
});

test('fewer than five rounds prove nothing, however far apart', () => {
  const judged = judgeRatios(byRound([2, 2, 2, 2]), 1.02, 4);
  assert.equal(judged.verdict, 'undecided');
  assert.equal(judged.interval, null);
  assert.deepEqual(judged.found, { median: 2, low: 2, high: 2 });
});

test('the interval says how sure it is', () => {
  const { interval } = judgeRatios(byRound([1, 2, 3, 4, 5]), null, 5);
  assert.deepEqual(interval, { low: 1, high: 5, confidence: 0.9375 });
});

test('rounds in which one of the two was wrong do not count, and half of them leave it undecided', () => {
  const samples = (wrong: number) =>
    Array.from({ length: 11 }, (_, round) => [
      sample('onehop-bun', round),
      sample('onehop-bun@old', round, { invalid: round < wrong ? ['it ended with SIGABRT'] : [] }),
    ]).flat();
  const [five] = compareRevisions([group(cell('a'))], samples(5), bars);
  assert.equal(five!.ratios.length, 6);
  assert.equal(five!.verdict, 'met');
  const [six] = compareRevisions([group(cell('a'))], samples(6), bars);
  assert.equal(six!.verdict, 'undecided');
  assert.match(six!.reason!, /6 of 11 rounds/);
});

test('loads of the same bars are also taken together, by the geometric mean of each round', () => {
  assert.deepEqual(
    [...pooled([byRound([4, 1]), byRound([1, 1])])].map(([, ratio]) => ratio),
    [2, 1],
  );
  assert.equal(pooled([byRound([1, 2]), new Map([[1, 2]])]).size, 1);
  const cells = [cell('a'), cell('b'), cell('c', { bars: ['P7'], bodyBytes: 1 })];
  const samples = cells.flatMap(({ id }) => [
    sample('onehop-bun', 0, { cell: id, cpuUs: id === 'a' ? 40 : 10 }),
    sample('onehop-bun@old', 0, { cell: id, cpuUs: 10 }),
  ]);
  const found = compareRevisions([group(...cells)], samples, bars);
  const cpu = found.filter(({ figure }) => figure === 'cpu');
  assert.deepEqual(
    cpu.map(({ cells, found }) => [cells.join(), found!.median]),
    [
      ['a', 4],
      ['b', 1],
      ['a,b', 2],
      ['c', 1],
    ],
  );
});

test('what may change is told and not judged', () => {
  const samples = Array.from({ length: 5 }, (_, round) => [
    sample('onehop-bun', round, { cpuUs: 90 }),
    sample('onehop-bun@old', round),
    sample('onehop-node', round, { cpuUs: 90 }),
    sample('onehop-node@old', round),
  ]).flat();
  const found = compareRevisions([group(cell('a'))], samples, {
    most: 1.02,
    onlyReported: [{ forwarder: 'onehop-node', cells: ['a'] }],
  }).filter(({ figure }) => figure === 'cpu');
  assert.deepEqual(
    found.map(({ forwarder, verdict }) => [forwarder, verdict]),
    [
      ['onehop-bun', 'missed'],
      ['onehop-node', 'reported'],
    ],
  );
});

test('an open loop compares its p99 and idle connections their memory', () => {
  const cells = [
    cell('open', { kind: 'open', bars: ['P5'] }),
    cell('idle', { kind: 'idle', bars: ['P12'] }),
  ];
  const samples = cells.flatMap(({ id }) =>
    ['onehop-bun', 'onehop-bun@old'].map((name) =>
      sample(name, 0, { cell: id, rssAddedBytes: 1024 * 1024, ratePerS: 1 }),
    ),
  );
  assert.deepEqual(
    compareRevisions([group(...cells)], samples, bars).map(({ figure }) => figure),
    ['cpu', 'p99', 'rssMB'],
  );
});

test('what is only reported names loads and forwarders that exist', () => {
  const { groups, against } = readScenarios();
  for (const { forwarder, cells } of against.onlyReported) {
    for (const id of cells) {
      const found = groups.find((one) => one.cells.some((each) => each.id === id));
      assert.ok(found?.forwarders.includes(forwarder), `${forwarder} in ${id}`);
    }
  }
});

test('uploads and downloads taken together do not go by one name', () => {
  assert.equal(loadsName(['50B-c10']), '50B-c10');
  assert.equal(loadsName(['50B-c10', '1KB-c50']), 'all 2 together');
  assert.equal(loadsName(['post-1MB-c16', 'post-5MB-c8']), 'all 2 post');
  assert.equal(loadsName(['get-1MB-c16', 'get-5MB-c8']), 'all 2 get');
});
