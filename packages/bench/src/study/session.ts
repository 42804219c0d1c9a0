/** One fresh process of an entry, and the runs it goes through. */
import { launchCommand } from '../api/index.ts';
import {
  type LoadPlan,
  type LoadResult,
  type SessionProcess,
  unaccountedRequests,
} from '../load/index.ts';
import type { Cell, Entry, Measurement } from '../results/types.ts';
import { CellRun } from './cell-run.ts';
import type { Children, ServerCommand, ServerProcess } from './children.ts';
import {
  calibrate,
  checkAnswer,
  entryPath,
  loadPlan,
  readCounters,
  toMeasurement,
} from './measure.ts';
import type { StudyOptions } from './options.ts';
import { pythonCommand } from './peers.ts';
import { launchedBy, type Pinning } from './pinning.ts';
import type { Upstream, Upstreams } from './upstreams.ts';

/** Runs one plan in a process of its own. Rejects when the generator fails or is ended. */
export type RunLoad = (plan: LoadPlan) => Promise<LoadResult>;

export interface SessionContext {
  children: Children;
  upstreams: Upstreams;
  options: StudyOptions;
  runLoad: RunLoad;
  /** The generator that warms up and runs in pieces; started when first asked for. */
  generator(): SessionProcess;
  /** Null: the scheduler decides. */
  pinning: Pinning | null;
}

/** A block's cells that share an upstream: the delay of an upstream is fixed when it starts. */
export interface SessionPlan {
  entry: Entry;
  upstreamLatencyMs: number;
  cells: Cell[];
}

export interface Session {
  plan: SessionPlan;
  upstream: Upstream;
  /** Null for `direct`: the upstream itself is loaded. */
  server: ServerProcess | null;
  /** Where it is loaded. */
  url: string;
  /** Where it tells of itself; null for `direct`. */
  measureUrl: string | null;
  /** From the check before anything is timed. */
  answerMs: number;
  /** The process has been loaded before: its code is compiled. */
  warm: boolean;
  /** Opened for warming up, to be measured first; null when it is taken. */
  firstRun: CellRun | null;
}

/** How processes are started: `lane` 0 or 1, two of them at the same time. */
export interface Start {
  lane: number;
  seed: number;
}

function serverCommand(
  entry: Entry,
  upstream: Upstream,
  context: SessionContext,
  lane: number,
): ServerCommand {
  const { options } = context;
  const words = context.pinning?.api(lane);
  const base = { requestUrl: upstream.url, connectionsMax: options.connectionsMax };
  if (entry.runtime === 'python') {
    const command = pythonCommand(entry, base);
    return launchedBy(words, { name: entry.id, ...command });
  }
  const { runtime, reuse, contestant } = entry;
  const command =
    entry.role === 'null-forwarder'
      ? launchCommand({
          ...base,
          program: 'null-forwarder',
          runtime,
          env: { ONEHOP_CASE: options.case },
        })
      : launchCommand({ ...base, program: 'api', runtime, reuse, clients: [contestant] });
  return launchedBy(words, { name: entry.id, ...command });
}

/**
 * Starts the process, has it answer once and warms it up for its first cell, on whichever core is
 * free; then it gets its own. @throws Error when it does not answer, with the reason
 */
export async function openSession(
  plan: SessionPlan,
  context: SessionContext,
  { lane, seed }: Start,
): Promise<Session> {
  const { entry, upstreamLatencyMs } = plan;
  const upstream = await context.upstreams.get(entry.protocol, upstreamLatencyMs, entry.runtime);
  const server =
    entry.role === 'direct'
      ? null
      : await context.children.startServer(serverCommand(entry, upstream, context, lane));
  const base = server === null ? upstream.url : `http://127.0.0.1:${server.port}/`;
  const url = `${base}${entryPath(entry, context.options.case)}`;
  const measureUrl = server === null ? null : `${base}_onehop/measure/`;
  try {
    const answerMs = await checkAnswer(entry, context.options.case, url, upstreamLatencyMs);
    const place = { plan, upstream, server, url, measureUrl };
    const session: Session = { ...place, answerMs, warm: false, firstRun: null };
    if (server !== null) context.pinning?.move(server.pid, 'all');
    session.firstRun = await CellRun.open(session, plan.cells[0]!, seed, context);
    await session.firstRun.warmUp();
    if (server !== null) context.pinning?.move(server.pid, 'api');
    return session;
  } catch (error) {
    await server?.stop();
    throw error;
  }
}

export interface Run {
  measurement: Measurement;
  oha: unknown;
  selfCheckProblems: string[];
}

export interface RunPosition {
  round: number;
  order: number;
  seed: number;
}

/** One cell in one piece. @throws Error when the generator or the process under test failed */
export async function runCell(
  session: Session,
  cell: Cell,
  position: RunPosition,
  context: SessionContext,
): Promise<Run> {
  const { round, order, seed } = position;
  const inPieces = cell.kind === 'closed' && context.options.generator === 'onehop';
  const { firstRun } = session;
  session.firstRun = null;
  if (!inPieces) {
    await firstRun?.close();
    return runPlan(session, cell, position, context);
  }
  const run = firstRun?.cell === cell ? firstRun : await CellRun.open(session, cell, seed, context);
  await run.slice(1);
  return run.finish({ round, order });
}

/** A cell that a generator runs by itself: an open loop, or another tool. */
async function runPlan(
  session: Session,
  cell: Cell,
  { round, order, seed }: RunPosition,
  context: SessionContext,
): Promise<Run> {
  const { plan, upstream, server, answerMs, url, measureUrl } = session;
  const { entry } = plan;
  const resetUrls = [upstream.resetUrl];
  if (measureUrl !== null) resetUrls.push(`${measureUrl}reset/`);
  const calibrationMs = calibrate();
  const { options } = context;
  const load = await context.runLoad(
    loadPlan({ entry, cell, url, resetUrls, options, answerMs, warm: session.warm, seed }),
  );
  const ended = server?.exitReason() ?? null;
  if (ended !== null) {
    throw new Error(`the API process ended during the run (${ended}): ${server?.stderrTail()}`);
  }
  const lost = unaccountedRequests(load);
  if (lost > 0) throw new Error(`the load generator lost ${lost} requests of its schedule`);
  const counters = await readCounters(measureUrl, upstream.countersUrl);
  const where = { round, order, entry: entry.id, cell: cell.id, calibrationMs };
  return {
    measurement: toMeasurement(where, { load, ...counters }),
    oha: load.oha,
    selfCheckProblems: load.selfCheckProblems,
  };
}
