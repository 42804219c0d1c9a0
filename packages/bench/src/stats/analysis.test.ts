import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { StudyResults } from '../results/index.ts';
import {
  closedCell,
  type SimulationOptions,
  simulateStudy,
  studyCells,
  studyClients,
} from '../results/synthetic.fixture.ts';
import { analyseStudy } from './analysis.ts';
import {
  blockingByEntry,
  constructionCosts,
  differenceByConstruction,
  frontier,
  latencySteps,
  protocolPairs,
} from './answers.ts';
import { Figures, headlineCell } from './figures.ts';
import { judgeGates } from './gates.ts';

const clients = [
  { id: 'fast', cpuUs: 60 },
  { id: 'slow', cpuUs: 120 },
  { id: 'slower', cpuUs: 240 },
];
const cells = [closedCell(2000, 10), closedCell(2000, 50)];

const study = (options: SimulationOptions = {}) => simulateStudy({ clients, cells, ...options });
const gateOf = (results: StudyResults, id: string) =>
  judgeGates(new Figures(results)).find((gate) => gate.id === id)!;

test('a sound study passes every gate and ranks its clients by their true cost', () => {
  const analysis = analyseStudy(study());
  const absent = analysis.gates.filter(({ verdict }) => verdict !== 'pass');
  assert.deepEqual(
    absent.map(({ id, verdict }) => [id, verdict]),
    [
      ['others', 'absent'],
      ['schedule-lag', 'absent'],
    ],
  );
  assert.equal(analysis.exitCode, 0);
  assert.equal(analysis.headline!.cell.id, 'n2000-c50');
  assert.deepEqual(
    analysis.ranking!.cpu.ranked.map(({ entry, group }) => [entry, group]),
    [
      ['fast', 'A'],
      ['slow', 'B'],
      ['slower', 'C'],
    ],
  );
  const second = analysis.ranking!.cpu.ranked[1]!.versusBest!;
  assert.ok(second.interval!.low < 2 && 2 < second.interval!.high);
});

test('other processes on the machine limit what the figures are worth, by the median round', () => {
  const judged = (cores: number[]) => {
    const results = study();
    for (const run of results.measurements) run.otherCores = cores[run.round % cores.length];
    return gateOf(results, 'others');
  };
  assert.equal(judged([0.02, 0.03, 0.9]).verdict, 'pass');
  assert.match(judged([0.02, 0.03, 0.9]).figure, /used 3 % of a core \(median round; worst 90 %\)/);
  assert.equal(judged([0.3, 0.02, 0.9]).verdict, 'limited');
});

test('each gate is breached by what it is there for, and by nothing else', () => {
  const breach = (change: (results: StudyResults) => void, id: string, exitCode: number) => {
    const results = study();
    change(results);
    const analysis = analyseStudy(results);
    const breached = analysis.gates.filter(({ verdict }) => verdict === 'breach');
    assert.deepEqual(
      breached.map((gate) => gate.id),
      [id],
    );
    assert.equal(analysis.exitCode, exitCode, id);
    assert.equal(analysis.rigInvalid, exitCode === 4, id);
    return analysis;
  };
  const every =
    (of: (run: StudyResults['measurements'][number]) => void, entry?: string) =>
    (results: StudyResults) => {
      for (const run of results.measurements) if (!entry || run.entry === entry) of(run);
    };
  breach(
    every((run) => (run.generator.littlesLawRatio = 0.93)),
    'little',
    4,
  );
  breach(
    every((run) => (run.generator.cpuUtilisation = 0.85), 'fast'),
    'generator',
    4,
  );
  breach(
    every((run) => (run.api!.cpuPerRequestUs *= 1.2), 'fast.twin'),
    'twin',
    4,
  );
  const invalid = breach(
    every((run) => (run.valid -= 1), 'fast'),
    'answers',
    3,
  );
  assert.match(invalid.excluded.get('fast')!, /1 of 2000 answers failed in n2000-c10/);
  assert.equal(invalid.ranking!.cpu.ranked[0]!.entry, 'slow', 'not ranked as fast');
  breach(
    every((run) => (run.statusCounts = { 204: 1, 302: 1 }), 'slow'),
    'answers',
    3,
  );
  breach(
    every((run) => (run.generator.connectionsEstablished = 9), 'slow'),
    'connections',
    3,
  );
  breach(
    every((run) => (run.upstream.concurrencyPeak = 101), 'slow'),
    'pools',
    3,
  );
  breach(
    (results) => {
      results.audit[0]!.verdict = 'fail';
    },
    'audit',
    3,
  );
});

test('the direct control does not breach the generator gate by doing its job', () => {
  const results = study();
  for (const run of results.measurements) {
    if (run.entry === 'direct') run.generator.cpuUtilisation = 1;
  }
  assert.equal(gateOf(results, 'generator').verdict, 'pass');
});

test('a ceiling too close to the best client limits the rig but breaks nothing', () => {
  const analysis = analyseStudy(study({ ceiling: 1.5 }));
  assert.equal(analysis.rigLimited, true);
  assert.equal(analysis.exitCode, 0);
  assert.equal(analyseStudy(study({ ceiling: 4 })).rigLimited, false);
  const without = study();
  without.measurements = without.measurements.filter(({ entry }) => entry !== 'direct');
  assert.equal(analyseStudy(without).rigLimited, true, 'nothing shows that there is room');
});

test('a small pool shows where the upstream is slow', () => {
  const narrow = [...clients, { id: 'narrow', cpuUs: 90, poolMax: 10 }];
  const results = study({ clients: narrow, cells: [...cells, closedCell(1000, 50, 50)] });
  const gate = gateOf(results, 'pools');
  assert.equal(gate.verdict, 'breach');
  assert.match(gate.entries.get('narrow')!, /only 10 of 50 at once/);
  assert.deepEqual([...gate.entries.keys()], ['narrow']);
});

test('a client too slow to fill its pool is not taken for one with a small pool', () => {
  const slow = [...clients, { id: 'crawler', cpuUs: 20_000, poolMax: 4 }];
  const results = study({ clients: slow, cells: [...cells, closedCell(1000, 50, 50)] });
  assert.equal(gateOf(results, 'pools').verdict, 'pass');
});

test('a twin with too few rounds says nothing about the rig', () => {
  assert.equal(gateOf(study({ rounds: 3 }), 'twin').verdict, 'absent');
  assert.equal(gateOf(study({ rounds: 5 }), 'twin').verdict, 'pass');
});

test('a client that gets slower against the others breaches the gate on drift', () => {
  const tiring = [...clients, { id: 'tiring', cpuUs: 90, drift: 0.8 }];
  const gate = gateOf(study({ clients: tiring, rounds: 10 }), 'drift');
  assert.equal(gate.verdict, 'breach', gate.figure);
  assert.match(gate.figure, /\(tiring\)/);
});

test('drift is seen, and noise that rounds share is not taken for drift', () => {
  assert.equal(gateOf(study({ drift: 0.5, roundNoise: 0.02 }), 'drift').verdict, 'breach');
  let alarms = 0;
  for (let seed = 0; seed < 40; seed++) {
    if (gateOf(study({ seed, roundNoise: 0.1 }), 'drift').verdict !== 'pass') alarms++;
  }
  assert.ok(alarms <= 5, `${alarms} false alarms in 40`);
});

test('the twin gate raises no false alarm in 100 simulated studies', () => {
  let alarms = 0;
  for (let seed = 0; seed < 100; seed++) {
    const results = study({ seed, cells: [cells[1]!], entryNoise: 0.02 });
    results.settings.bootstrapResamples = 1000;
    if (gateOf(results, 'twin').verdict === 'breach') alarms++;
  }
  assert.equal(alarms, 0);
});

test('missing rounds and an unfinished study are taken as they are', () => {
  const missing = (round: number, entry: string) => entry === 'slow' && round < 3;
  const analysis = analyseStudy(study({ missing }));
  const slow = analysis.ranking!.cpu.ranked[1]!;
  assert.equal(slow.versusBest!.rounds, 7);
  assert.equal(slow.versusBest!.provisional, true);
  const nothing = study();
  nothing.measurements = [];
  const empty = analyseStudy(nothing);
  assert.equal(empty.headline, null);
  assert.deepEqual(latencySteps(empty), []);
  assert.deepEqual(constructionCosts(empty), []);
});

test('who ran in few rounds neither leads nor unsettles the ranking', () => {
  // Left out of most rounds, as a time budget does, and by chance the cheapest in those.
  const missing = (round: number, entry: string) => entry === 'rare' && round > 1;
  const rare = [...clients, { id: 'rare', cpuUs: 59 }];
  const analysis = analyseStudy(study({ missing, clients: rare }));
  assert.deepEqual([...analysis.sparse], [['rare', 2]]);
  assert.deepEqual(
    analysis.ranking!.cpu.ranked.map(({ entry }) => entry),
    ['fast', 'slow', 'slower'],
  );
  assert.equal(analysis.headline!.best.cpu, 'fast');
  const few = analyseStudy(study({ rounds: 2 }));
  assert.equal(few.sparse.size, 0, 'where all have few, none is singled out');
});

test('the headline cell is closed, prompt and near 50 connections', () => {
  assert.equal(headlineCell(simulateStudy({ cells: studyCells, rounds: 1 }))!.id, 'n2000-c50');
  const slowOnly = study({ cells: [closedCell(100, 50, 5)], rounds: 1 });
  assert.equal(headlineCell(slowOnly)!.id, 'n100-c50-l5');
});

test('the three open questions are answered from the cells that exist', () => {
  const stuck = { id: 'stuck', cpuUs: 50_000, loopDelayMs: 60 };
  const analysis = analyseStudy(simulateStudy({ rounds: 10, clients: [...studyClients, stuck] }));
  const costs = constructionCosts(analysis);
  const httpx = costs.find(({ contestant }) => contestant === 'httpx')!;
  assert.ok(Math.abs(httpx.comparison.ratio - 99_000 / 2600) < 2);
  assert.equal(httpx.comparison.outcome, 'worse');
  assert.ok(httpx.constructionShare > 0.96 && httpx.constructionShare < 0.98);
  const difference = differenceByConstruction(analysis)!;
  // 82.5x per request against 3.71x shared: log share 70 %.
  assert.equal(difference.slow, 'httpx');
  assert.ok(Math.abs(difference.share - (1 - Math.log(2600 / 700) / Math.log(82.5))) < 0.02);

  const blocking = blockingByEntry(analysis);
  assert.equal(blocking[0]!.entry, 'httpx-h2');
  const stateOf = (id: string) => blocking.find(({ entry }) => entry === id)!.state;
  assert.deepEqual([stateOf('onehop'), stateOf('httpx-h2')], ['free', 'busy']);
  assert.equal(stateOf('stuck'), 'blocked', 'one request holds the loop for 60 ms');
  assert.equal(
    blocking.some(({ entry }) => entry === 'bun-fetch'),
    false,
    'no probe, no claim',
  );
  assert.deepEqual(
    protocolPairs(analysis).map(({ h1, h2 }) => [h2.entry, h1.entry]),
    [
      ['httpx-h2', 'httpx'],
      ['node-http2', 'node-http'],
    ],
  );

  const steps = latencySteps(analysis);
  assert.deepEqual(
    steps.map(({ cell }) => cell.upstreamLatencyMs),
    [0, 5, 50, 300],
  );
  assert.ok(steps[0]!.worse.length > steps[3]!.worse.length);
  assert.ok(steps[0]!.spread > steps[3]!.spread);

  const points = frontier(analysis).filter(({ entry }) => entry === 'onehop');
  const rates = points.map(({ rps }) => rps ?? 0);
  assert.deepEqual(
    rates,
    [...rates].sort((a, b) => a - b),
    'a looser limit never lowers the rate',
  );
});

test('a foreign generator that tells nothing of itself does not make its gates hold', () => {
  const results = study();
  assert.equal(gateOf(results, 'generator').verdict, 'pass');
  results.rig.generator = 'oha 1.16.0';
  for (const id of ['generator', 'connections']) {
    assert.equal(gateOf(results, id).verdict, 'absent', id);
  }
  assert.match(gateOf(results, 'answers').figure, /by status only, not by body$/);
});

test("the direct control's few milliseconds of a tiny study do not invalidate the rig", () => {
  const results = study();
  for (const run of results.measurements) {
    if (run.entry !== 'direct') continue;
    run.durationMs = 12;
    run.generator.littlesLawRatio = 0.85;
  }
  assert.equal(gateOf(results, 'little').verdict, 'pass');
  for (const run of results.measurements) if (run.entry === 'direct') run.durationMs = 120;
  assert.equal(gateOf(results, 'little').verdict, 'breach');
});
