/**
 * Results of simulated clients whose true cost is known: what the statistics are judged by and the
 * report is developed with. Never shipped and never shown as a measurement.
 */
import { normal, type Random, seededRandom } from '../stats/random.ts';
import { RESULTS_SCHEMA_ID } from './schema.ts';
import type { Cell, Entry, Measurement, Percentiles, StudyResults } from './types.ts';

export interface SimulatedClient {
  id: string;
  /** True CPU cost per request, in µs; the API has one core, so this sets its ceiling too. */
  cpuUs: number;
  reuse?: 'shared' | 'per-request';
  runtime?: 'node' | 'bun' | 'python';
  protocol?: 'http/1.1' | 'h2c';
  /** Stalls of the event loop, in ms, as the 99th percentile. */
  loopDelayMs?: number;
  /** Share of requests that fail. */
  errorShare?: number;
  /** Connections the client opens at most; the fair pool when absent. */
  /** Like the study's `drift`, of this client alone. */
  drift?: number;
  poolMax?: number;
  failsCheck?: string;
}

/** A run in pieces by turns, and what disturbs it within a round. */
export interface SimulatedPieces {
  passes: number;
  /** Standard deviation of the log-normal noise that all pieces of a pass share. */
  passNoise: number;
  /** The same of one piece. */
  pieceNoise: number;
  /** Share of the pieces that something makes dearer, up to four times. */
  spikeShare: number;
}

export interface SimulationOptions {
  seed?: number;
  rounds?: number;
  clients?: readonly SimulatedClient[];
  cells?: readonly Cell[];
  /** Standard deviation of the log-normal noise that all entries of a round share. */
  roundNoise?: number;
  /** Standard deviation of the log-normal noise of one entry in one round. */
  entryNoise?: number;
  /** Relative slow-down over the whole run: 0.2 makes the last run 20 % dearer than the first. */
  drift?: number;
  /** The direct ceiling as a multiple of the best client. */
  ceiling?: number;
  twinOf?: string;
  /** Measurements to leave out, as an interrupted run would. */
  missing?: (round: number, entry: string, cell: string) => boolean;
  generatorUtilisation?: number;
  /** Absent: every run is one piece. */
  pieces?: SimulatedPieces;
}

export const closedCell = (requests: number, connections: number, latencyMs = 0): Cell => ({
  id: `n${requests}-c${connections}${latencyMs > 0 ? `-l${latencyMs}` : ''}`,
  kind: 'closed',
  requests,
  connections,
  ratePerS: null,
  durationMsMax: null,
  upstreamLatencyMs: latencyMs,
});

export const openCell = (ratePerS: number): Cell => ({
  id: `q${ratePerS}-c50`,
  kind: 'open',
  requests: null,
  connections: 50,
  ratePerS,
  durationMsMax: 3000,
  upstreamLatencyMs: 0,
});

/** About twenty entries as the study has them, with costs of a plausible order. */
export const studyClients: readonly SimulatedClient[] = [
  { id: 'onehop', cpuUs: 62 },
  { id: 'onehop@bun', cpuUs: 44, runtime: 'bun' },
  { id: 'undici-dispatch', cpuUs: 88 },
  { id: 'undici-request', cpuUs: 96 },
  { id: 'undici-stream', cpuUs: 95 },
  { id: 'node-http', cpuUs: 118 },
  { id: 'node-http2', cpuUs: 131, protocol: 'h2c', loopDelayMs: 9 },
  { id: 'fetch', cpuUs: 236, loopDelayMs: 6 },
  { id: 'bun-fetch', cpuUs: 71, runtime: 'bun' },
  { id: 'axios', cpuUs: 241 },
  { id: 'got', cpuUs: 402, loopDelayMs: 8 },
  { id: 'ky', cpuUs: 281 },
  { id: 'node-fetch', cpuUs: 198 },
  { id: 'superagent', cpuUs: 260, failsCheck: 'no-redirect' },
  { id: 'needle', cpuUs: 187, errorShare: 0.0004 },
  { id: 'ofetch', cpuUs: 262 },
  { id: 'openai', cpuUs: 310 },
  { id: 'httpx', cpuUs: 2600, runtime: 'python', loopDelayMs: 14 },
  { id: 'aiohttp', cpuUs: 700, runtime: 'python' },
  { id: 'httpx-h2', cpuUs: 3900, runtime: 'python', protocol: 'h2c', loopDelayMs: 65 },
  { id: 'undici-request.per-request', cpuUs: 421, reuse: 'per-request', loopDelayMs: 7 },
  { id: 'fetch.per-request', cpuUs: 604, reuse: 'per-request', loopDelayMs: 9 },
  { id: 'node-http.per-request', cpuUs: 262, reuse: 'per-request' },
  { id: 'httpx.per-request', cpuUs: 99_000, reuse: 'per-request', runtime: 'python' },
  { id: 'aiohttp.per-request', cpuUs: 1200, reuse: 'per-request', runtime: 'python' },
];

export const studyCells: readonly Cell[] = [
  closedCell(2000, 2),
  closedCell(2000, 10),
  closedCell(2000, 50),
  closedCell(5000, 200),
  closedCell(500, 10),
  closedCell(500, 50),
  closedCell(1000, 50, 5),
  closedCell(1000, 50, 50),
  closedCell(1000, 50, 300),
  openCell(500),
  openCell(1500),
  openCell(3000),
];

function entryOf(client: SimulatedClient): Entry {
  return {
    id: client.id,
    role: 'contestant',
    contestant: client.id.replace(/\.per-request$/, '').replace(/@.*$/, ''),
    runtime: client.runtime ?? 'node',
    reuse: client.reuse ?? 'shared',
    protocol: client.protocol ?? 'http/1.1',
    version: '1.2.3',
    twinOf: null,
    note: `simulated client, ${client.cpuUs} us`,
    source: `// ${client.id}\nexport const open = () => client.get(path);`,
  };
}

const control = (id: 'direct' | 'null-forwarder'): Entry => ({
  ...entryOf({ id, cpuUs: 1 }),
  role: id,
  contestant: id,
});

/** Quantiles of a shifted exponential: a floor and a tail, with the mean asked for. */
function quantilesOf(meanMs: number, tail: number): number[] {
  const quantiles: number[] = [];
  for (let i = 0; i <= 100; i++) {
    const q = i === 100 ? 0.9995 : i / 100;
    quantiles.push(meanMs * (1 - tail - Math.log(1 - q) * tail));
  }
  return quantiles;
}

function percentilesOf(quantilesMs: readonly number[], meanMs: number, count: number): Percentiles {
  const at = (percent: number) => quantilesMs[percent]!;
  return {
    min: at(0),
    p10: at(10),
    p25: at(25),
    p50: at(50),
    p75: at(75),
    p90: at(90),
    p95: at(95),
    p99: count >= 1000 ? at(99) : null,
    p999: count >= 10_000 ? at(100) : null,
    max: at(100),
    mean: meanMs,
  };
}

interface RunFacts {
  client: SimulatedClient | null;
  cpuUs: number;
  capacity: number;
  random: Random;
  utilisation: number;
}

function measure(cell: Cell, facts: RunFacts, poolMax: number): Measurement {
  const { client, cpuUs, capacity, random } = facts;
  const floorMs = 0.12 + (client === null ? 0 : cpuUs / 1000) + cell.upstreamLatencyMs;
  let rate = Math.min(capacity, (cell.connections * 1000) / floorMs);
  let meanMs = (cell.connections * 1000) / rate;
  let completed = cell.requests ?? 0;
  if (cell.ratePerS !== null) {
    const load = cell.ratePerS / capacity;
    const seconds = cell.durationMsMax! / 1000;
    rate = Math.min(cell.ratePerS, capacity);
    completed = Math.round(rate * seconds);
    // Beyond its ceiling a queue grows for the whole run.
    meanMs = load < 0.98 ? floorMs + (cpuUs / 1000) * (load / (1 - load)) : 500 * seconds * load;
  }
  const errors = Math.round(completed * (client?.errorShare ?? 0));
  const quantilesMs = quantilesOf(meanMs, cell.kind === 'open' ? 0.6 : 0.25);
  const latencyMs = percentilesOf(quantilesMs, meanMs, completed);
  const perRequest = client?.reuse === 'per-request';
  const loopDelay = (client?.loopDelayMs ?? 2) * Math.exp(normal(random) * 0.1);
  return {
    round: 0,
    order: 0,
    entry: '',
    cell: cell.id,
    startedAt: '2026-01-01T00:00:00.000Z',
    calibrationMs: 20 * Math.exp(normal(random) * 0.005),
    completed,
    valid: completed - errors,
    statusCounts: errors > 0 ? { 200: completed - errors, 502: errors } : { 200: completed },
    errorCounts: {},
    dropped: 0,
    durationMs: (completed / rate) * 1000,
    requestsPerS: rate,
    latencyMs,
    serviceMs:
      cell.kind === 'open' ? percentilesOf(quantilesOf(floorMs, 0.4), floorMs, completed) : null,
    quantilesMs,
    generator: {
      cpuUtilisation: facts.utilisation,
      scheduleLagP99Ms: cell.kind === 'open' ? 0.05 : null,
      achievedOverOffered: cell.ratePerS === null ? null : rate / cell.ratePerS,
      connectionsEstablished: cell.connections,
      littlesLawRatio: 1 + normal(random) * 0.004,
    },
    api:
      client === null
        ? null
        : {
            cpuUserUs: cpuUs * completed * 0.74,
            cpuSystemUs: cpuUs * completed * 0.26,
            cpuPerRequestUs: cpuUs,
            loopDelayP50Ms: client.runtime === 'bun' ? null : loopDelay / 8,
            loopDelayP99Ms: client.runtime === 'bun' ? null : loopDelay,
            loopDelayMaxMs: client.runtime === 'bun' ? null : loopDelay * 3,
            loopUtilisation: client.runtime === 'bun' ? null : Math.min(1, rate / capacity),
            rssPeakBytes: (client.runtime === 'python' ? 55 : 110) * 1e6 + cpuUs * 9000,
          },
    upstream: {
      requests: completed,
      connectionsOpened: perRequest
        ? completed
        : client?.protocol === 'h2c'
          ? 1
          : Math.min(cell.connections, client?.poolMax ?? poolMax),
      concurrencyPeak: Math.min(cell.connections, client?.poolMax ?? poolMax),
    },
  };
}

function shuffled<T>(items: readonly T[], random: Random): T[] {
  const copy = [...items];
  for (let i = copy.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [copy[i], copy[j]] = [copy[j]!, copy[i]!];
  }
  return copy;
}

function frame(options: SimulationOptions, entries: Entry[], cells: Cell[]): StudyResults {
  return {
    $schema: RESULTS_SCHEMA_ID,
    schemaVersion: 1,
    kind: 'onehop-study',
    startedAt: '2026-01-01T00:00:00.000Z',
    finishedAt: '2026-01-01T01:00:00.000Z',
    complete: true,
    command: 'onehop bench study --rounds 10 --seed 1',
    rig: {
      cpuModel: 'Simulated CPU',
      cores: 2,
      memoryBytes: 24e9,
      os: 'linux x64',
      kernel: '6.1.0',
      nodeVersion: 'v20.20.2',
      bunVersion: '1.4.5',
      pythonVersion: '3.11.2',
      onehopVersion: '0.1.0',
      commit: null,
      generator: 'simulated',
    },
    settings: {
      rounds: options.rounds ?? 10,
      seed: options.seed ?? 1,
      connectionsMax: 100,
      warmupMs: 500,
      bootstrapResamples: 10_000,
      confidence: 0.95,
      equivalenceMin: 0.03,
    },
    entries,
    cells,
    measurements: [],
    audit: [],
    leftOut: ['axios@bun: Bun runs it on its own fetch, which is measured already'],
    warnings: [],
  };
}

const noiseOf = (random: Random, deviation: number) => Math.exp(normal(random) * deviation);

/** Cuts a run into pieces that its CPU per request is then the mean of. */
function cutIntoPieces(
  run: Measurement,
  { pieceNoise, spikeShare }: SimulatedPieces,
  passEffects: readonly number[],
  random: Random,
): void {
  const { api } = run;
  if (api === null) return;
  run.slicePasses = passEffects.map((_, pass) => pass);
  run.sliceCpuUs = passEffects.map((effect) => {
    const spike = random() < spikeShare ? 1 + 3 * random() : 1;
    return api.cpuPerRequestUs * effect * spike * noiseOf(random, pieceNoise);
  });
  api.cpuPerRequestUs =
    run.sliceCpuUs.reduce((total, cpuUs) => total + cpuUs, 0) / passEffects.length;
}

/** Simulates a whole study. The same options give the same results. */
export function simulateStudy(options: SimulationOptions = {}): StudyResults {
  const clients = options.clients ?? studyClients;
  const cells = [...(options.cells ?? studyCells)];
  const random = seededRandom(options.seed ?? 1);
  const twinOf = clients.find((client) => client.id === options.twinOf) ?? clients[0]!;
  const twin: Entry = {
    ...entryOf(twinOf),
    id: `${twinOf.id}.twin`,
    role: 'twin',
    twinOf: twinOf.id,
  };
  const entries = [...clients.map(entryOf), twin, control('direct'), control('null-forwarder')];
  const byId = new Map<string, SimulatedClient>(clients.map((client) => [client.id, client]));
  byId.set(twin.id, twinOf);
  const best = 1e6 / Math.min(...clients.map((client) => client.cpuUs + 25));
  byId.set('null-forwarder', { id: 'null-forwarder', cpuUs: 1e6 / best / 3 });
  const results = frame(options, entries, cells);
  const total = (options.rounds ?? 10) * entries.length * cells.length;
  let order = 0;
  for (let round = 0; round < results.settings.rounds; round++) {
    const roundEffect = Math.exp(normal(random) * (options.roundNoise ?? 0.05));
    for (const cell of shuffled(cells, random)) {
      const { pieces } = options;
      const passEffects = Array.from({ length: pieces?.passes ?? 0 }, () =>
        noiseOf(random, pieces!.passNoise),
      );
      for (const entry of shuffled(entries, random)) {
        const slowdown = 1 + ((options.drift ?? 0) * order) / total;
        const noise =
          roundEffect * slowdown * Math.exp(normal(random) * (options.entryNoise ?? 0.02));
        const client = byId.get(entry.id) ?? null;
        const ownSlowdown = 1 + ((client?.drift ?? 0) * order) / total;
        const cpuUs = (client?.cpuUs ?? 0) * noise * ownSlowdown;
        const capacity =
          client === null ? (best * (options.ceiling ?? 4)) / noise : 1e6 / (cpuUs + 25 * noise);
        const utilisation = options.generatorUtilisation ?? 0.45;
        const facts = { client, cpuUs, capacity, random, utilisation };
        const run = measure(cell, facts, results.settings.connectionsMax);
        if (pieces !== undefined) cutIntoPieces(run, pieces, passEffects, random);
        if (!options.missing?.(round, entry.id, cell.id)) {
          results.measurements.push({ ...run, round, order, entry: entry.id });
        }
        order++;
      }
    }
  }
  for (const client of clients) {
    for (const check of ['pool-size', 'keep-alive', 'no-pipelining', 'no-redirect', 'no-retry']) {
      const failed = client.failsCheck === check;
      const detail = failed ? 'followed a redirect to another path' : 'as asked';
      results.audit.push({ entry: client.id, check, verdict: failed ? 'fail' : 'pass', detail });
    }
  }
  return results;
}
