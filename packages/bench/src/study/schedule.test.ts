import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildCells, cellFileName } from './cells.ts';
import { buildEntries, buildTasks, type Catalogue } from './entries.ts';
import { type RawOptions, readOptions } from './options.ts';
import { type Block, type CostModel, planRound, type Task, taskKey } from './schedule.ts';

const catalogue: Catalogue = {
  knownNames: ['undici-request', 'fetch', 'axios', 'bun-fetch'],
  items: ['undici-request', 'fetch', 'axios'].map((name) => ({
    name,
    runtime: 'node',
    modes: ['shared', 'per-request'],
    protocol: 'http/1.1',
    note: '',
    version: '1.0.0',
  })),
};

const costs: CostModel = { startS: () => 0.3, cellS: () => 0.7 };

function setUp(raw: RawOptions) {
  const options = readOptions(raw, false);
  const entries = buildEntries(options, catalogue);
  const cells = buildCells(options);
  return { options, entries, cells, tasks: buildTasks(options, entries, cells) };
}

interface Simulation {
  rounds: Block[][];
  spentS: number;
  counts: Map<string, number>;
}

/** Plays a study whose runs cost exactly what the model says. */
function simulate(tasks: Task[], seed: number, rounds: number, budgetS: number | null): Simulation {
  const done = new Map<string, number>();
  const played: Block[][] = [];
  let spentS = 0;
  for (let round = 0; round < 1000; round++) {
    const secondsLeft = budgetS === null ? null : budgetS - spentS;
    const blocks = planRound({ round, seed, tasks, rounds, secondsLeft, done, costs });
    if (blocks === null) break;
    played.push(blocks);
    for (const block of blocks) {
      spentS += costs.startS(block.entry);
      for (const cell of block.cells) {
        spentS += costs.cellS(block.entry, cell);
        const key = taskKey({ entry: block.entry, cell });
        done.set(key, (done.get(key) ?? 0) + 1);
      }
    }
  }
  return { rounds: played, spentS, counts: done };
}

const orderOf = (blocks: Block[]) => blocks.map(({ entry }) => entry).join(' ');

test('without a budget every entry runs every cell once in every round', () => {
  const { tasks, entries, cells } = setUp({ rounds: '4', seed: '1', requests: '100,200' });
  const { rounds } = simulate(tasks, 1, 4, null);
  assert.equal(rounds.length, 4);
  for (const blocks of rounds) {
    assert.deepEqual(blocks.map(({ entry }) => entry).sort(), entries.map(({ id }) => id).sort());
    for (const block of blocks) assert.equal(block.cells.length, cells.length);
  }
});

test('the order differs from round to round, and only the seed decides it', () => {
  const { tasks } = setUp({ rounds: '6', seed: '1', requests: '100', connections: '5' });
  const orders = simulate(tasks, 7, 6, null).rounds.map(orderOf);
  assert.ok(new Set(orders).size >= 5, `too few different orders: ${orders.join(' | ')}`);
  assert.deepEqual(simulate(tasks, 7, 6, null).rounds.map(orderOf), orders);
  assert.notDeepEqual(simulate(tasks, 8, 6, null).rounds.map(orderOf), orders);
});

test('the A/A twin and both controls are in every round of a budgeted study', () => {
  const { tasks, options } = setUp({ seed: '3' });
  const { rounds } = simulate(tasks, 3, options.rounds, 120);
  assert.ok(rounds.length >= 5, `only ${rounds.length} rounds`);
  for (const blocks of rounds) {
    const present = new Set(blocks.map(({ entry }) => entry));
    for (const id of ['undici-request', 'undici-request.twin', 'direct', 'null-forwarder']) {
      assert.ok(present.has(id), `${id} is missing`);
    }
    // The main cell is the first thing a process does, so that nothing warmed it before.
    for (const { cells, entry } of blocks) {
      if (cells.includes('n2000-c50')) assert.equal(cells[0], 'n2000-c50', entry);
    }
  }
});

test('a budget is kept, and every side task gets its turns before any gets many more', () => {
  const { tasks, options } = setUp({ seed: '3' });
  for (const budgetS of [40, 90, 150, 400]) {
    const { spentS, counts, rounds } = simulate(tasks, 3, options.rounds, budgetS);
    assert.ok(spentS <= budgetS + 0.001, `${spentS} s of ${budgetS} s`);
    assert.ok(rounds.length <= options.rounds);
    if (budgetS < 90) continue;
    const sides = tasks.filter((task) => !task.main && !task.control);
    assert.ok(sides.length > 0);
    for (const task of sides) assert.ok((counts.get(taskKey(task)) ?? 0) >= 1, taskKey(task));
  }
});

test('side tasks are spread over the rounds', () => {
  const { tasks, options } = setUp({ seed: '3' });
  const { rounds } = simulate(tasks, 3, options.rounds, 150);
  const sizes = rounds.map((blocks) => blocks.reduce((sum, { cells }) => sum + cells.length, 0));
  assert.ok(Math.max(...sizes) - Math.min(...sizes) <= 6, `runs per round: ${sizes.join(', ')}`);
});

test('the first round runs however short the budget, and no second one is begun in vain', () => {
  const { tasks } = setUp({ seed: '3' });
  assert.equal(simulate(tasks, 3, 10, 1).rounds.length, 1);
});

test('a side cell never runs without its ceiling beside it', () => {
  const { tasks, options } = setUp({ seed: '3' });
  for (const blocks of simulate(tasks, 3, options.rounds, 150).rounds) {
    const direct = new Set(blocks.find(({ entry }) => entry === 'direct')?.cells);
    for (const { cells } of blocks) for (const cell of cells) assert.ok(direct.has(cell), cell);
  }
});

test('the full matrix is the original one', () => {
  const { cells } = setUp({ full: true, seed: '1' });
  assert.equal(cells.length, 7 * 11);
  assert.equal(
    cellFileName('axios', cells.find(({ id }) => id === 'n7500-c400')!),
    'axios_7500_400.json',
  );
});
