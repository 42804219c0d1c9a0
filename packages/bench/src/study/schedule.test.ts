import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildCells, cellFileName } from './cells.ts';
import { buildEntries, buildTasks, type Catalogue } from './entries.ts';
import { type RawOptions, readOptions } from './options.ts';
import {
  type Block,
  type CostModel,
  PROMISED_SHARE_MAX,
  planRound,
  type Task,
  taskKey,
} from './schedule.ts';

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

const costs: CostModel = { startS: () => 0.3, cellS: () => 0.7, pieceS: () => 0.06 };
const PASSES = 10;
const REHEARSALS = 2;

function setUp(raw: RawOptions) {
  const options = readOptions(raw, false);
  const entries = buildEntries(options, catalogue);
  const cells = buildCells(options);
  return { options, entries, cells, tasks: buildTasks(options, entries, cells) };
}

interface Simulation {
  rounds: Block[][];
  passes: number[];
  spentS: number;
  counts: Map<string, number>;
}

/** Plays a study whose runs cost what the model says, times `dearer`. */
function simulate(
  tasks: Task[],
  seed: number,
  rounds: number,
  budgetS: number | null,
  dearer = 1,
): Simulation {
  const done = new Map<string, number>();
  const played: Block[][] = [];
  const passes: number[] = [];
  const main = new Set(tasks.filter((task) => task.main).map(taskKey));
  let spentS = 0;
  for (let round = 0; round < 1000; round++) {
    const secondsLeft = budgetS === null ? null : budgetS - spentS;
    const request = { round, seed, tasks, rounds, secondsLeft, done, costs };
    const plan = planRound({ ...request, passes: PASSES, rehearsals: REHEARSALS });
    if (plan === null) break;
    const { blocks } = plan;
    played.push(blocks);
    passes.push(plan.passes);
    for (const block of blocks) {
      spentS += dearer * costs.startS(block.entry);
      for (const cell of block.cells) {
        const key = taskKey({ entry: block.entry, cell });
        spentS +=
          dearer *
          (main.has(key)
            ? (plan.passes + REHEARSALS) * costs.pieceS(block.entry, cell)
            : costs.cellS(block.entry, cell));
        done.set(key, (done.get(key) ?? 0) + 1);
      }
    }
  }
  return { rounds: played, passes, spentS, counts: done };
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

/** As the default study has them: clients that are placed, and Python beside them. */
const wide: Catalogue = {
  knownNames: [],
  items: [
    ...['onehop', 'undici-request', 'node-http', 'fetch', 'got'].map(
      (name) => [name, 'node'] as const,
    ),
    ...['httpx', 'aiohttp', 'httpx-aiohttp'].map((name) => [name, 'python'] as const),
  ].map(([name, runtime]) => ({
    name,
    runtime,
    modes: ['shared', 'per-request'],
    protocol: 'http/1.1',
    note: '',
    version: '1.0.0',
  })),
};

function wideTasks(raw: RawOptions): Task[] {
  const options = readOptions(raw, false);
  const entries = buildEntries(options, wide);
  return buildTasks(options, entries, buildCells(options));
}

test('Python, a client per request and further connections have their rounds beside five of the main cell', () => {
  const tasks = wideTasks({ seed: '5' });
  const promised = tasks.filter((task) => task.promised > 0);
  const ids = new Set(promised.map(({ entry }) => entry));
  for (const id of ['httpx', 'httpx.per-request', 'aiohttp.per-request', 'onehop.per-request']) {
    assert.ok(ids.has(id), id);
  }
  assert.ok(promised.some(({ entry, cell }) => entry === 'httpx' && cell === 'n10000-c200'));
  for (const budgetS of [90, 120, 200]) {
    const { rounds, counts, spentS } = simulate(tasks, 5, 10, budgetS);
    assert.ok(rounds.length >= 5, `${rounds.length} rounds in ${budgetS} s`);
    assert.ok(spentS <= budgetS + 0.001, `${spentS} s of ${budgetS} s`);
    for (const task of promised) {
      assert.ok(
        (counts.get(taskKey(task)) ?? 0) >= task.promised,
        `${budgetS} s: ${taskKey(task)}`,
      );
    }
  }
});

test('where time is short rounds have fewer passes before there are fewer than five', () => {
  const tasks = wideTasks({ seed: '5' });
  const short = simulate(tasks, 5, 10, 60);
  assert.ok(short.rounds.length >= 5, `${short.rounds.length} rounds`);
  assert.ok(Math.min(...short.passes) < PASSES, short.passes.join(' '));
  assert.ok(Math.min(...short.passes) >= PASSES / 2, short.passes.join(' '));
  assert.deepEqual(new Set(simulate(tasks, 5, 10, 400).passes), new Set([PASSES]));
});

test('what is promised never takes the time of the main cell: it gets a third at most', () => {
  const tasks = wideTasks({ seed: '5' });
  const main = tasks.filter((task) => task.main);
  const roundS = main.length * (0.3 + (PASSES + REHEARSALS) * 0.06);
  for (const budgetS of [30, 60, 75]) {
    const { rounds, passes, spentS } = simulate(tasks, 5, 10, budgetS);
    const mainS = passes.reduce(
      (sum, kept) => sum + main.length * (0.3 + (kept + REHEARSALS) * 0.06),
      0,
    );
    assert.ok(rounds.flat().length > rounds.length * main.length, 'none of what is promised');
    // What no whole round fits into may go to the sides as well.
    const sidesS = spentS - mainS;
    assert.ok(sidesS <= PROMISED_SHARE_MAX * budgetS + roundS, `${sidesS} s of ${budgetS} s`);
  }
});

test('what is promised gives way to the five rounds without which there is no verdict', () => {
  const tasks = wideTasks({ seed: '5' });
  const main = tasks.filter((task) => task.main).length;
  const leastS = main * (0.3 + (PASSES / 2 + REHEARSALS) * 0.06);
  for (const rounds of [5.05, 5.5, 6, 7]) {
    const played = simulate(tasks, 5, 10, rounds * leastS).rounds.length;
    assert.ok(played >= 5, `${played} rounds in the time of ${rounds}`);
  }
});

test('five rounds fit in although everything takes longer than foreseen', () => {
  const tasks = wideTasks({ seed: '5' });
  const main = tasks.filter((task) => task.main).length;
  const leastS = main * (0.3 + (PASSES / 2 + REHEARSALS) * 0.06);
  for (const dearer of [1.05, 1.1, 1.15]) {
    for (const rounds of [6, 7, 8, 9, 12]) {
      const played = simulate(tasks, 5, 10, rounds * leastS, dearer).rounds.length;
      assert.ok(played >= 5, `${played} rounds in the time of ${rounds}, ${dearer} as dear`);
    }
  }
});

test('with time enough five rounds have all their passes, and side tasks besides', () => {
  const tasks = wideTasks({ seed: '5' });
  const main = tasks.filter((task) => task.main).length;
  const wholeS = main * (0.3 + (PASSES + REHEARSALS) * 0.06);
  const { rounds, passes } = simulate(tasks, 5, 5, 5 * 2 * wholeS);
  assert.deepEqual(passes, Array(5).fill(PASSES));
  assert.ok(rounds.flat().length > 5 * main);
});

test('both modes of the original pair run in the same rounds: ratios need common ones', () => {
  const { rounds } = simulate(wideTasks({ seed: '5' }), 5, 10, 120);
  const pair = ['httpx', 'aiohttp', 'httpx.per-request', 'aiohttp.per-request'];
  const common = rounds.filter((blocks) =>
    pair.every((id) =>
      blocks.some(({ entry, cells }) => entry === id && cells.includes('n10000-c50')),
    ),
  );
  assert.ok(common.length >= 2, `${common.length} rounds`);
});

test('a budget of ten minutes gives the ten rounds of a full verdict', () => {
  const { rounds, passes } = simulate(wideTasks({ seed: '5', budget: '10m' }), 5, 10, 580);
  assert.equal(rounds.length, 10);
  assert.deepEqual(new Set(passes), new Set([PASSES]));
});

test('the full matrix is the original one', () => {
  const { cells } = setUp({ full: true, seed: '1' });
  assert.equal(cells.length, 7 * 11);
  assert.equal(
    cellFileName('axios', cells.find(({ id }) => id === 'n7500-c400')!),
    'axios_7500_400.json',
  );
});
