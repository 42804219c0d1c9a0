/** One fresh process of an entry, and the runs it goes through. */
import { launchCommand } from '../api/index.ts';
import { type LoadPlan, type LoadResult, unaccountedRequests } from '../load/index.ts';
import type { Cell, Entry, Measurement } from '../results/types.ts';
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
import type { Upstream, Upstreams } from './upstreams.ts';

/** Runs one plan in a process of its own. Rejects when the generator fails or is ended. */
export type RunLoad = (plan: LoadPlan) => Promise<LoadResult>;

export interface SessionContext {
  children: Children;
  upstreams: Upstreams;
  options: StudyOptions;
  runLoad: RunLoad;
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
  /** From the check before anything is timed. */
  answerMs: number;
  /** The process has been loaded before: its code is compiled. */
  warm: boolean;
}

function serverCommand(entry: Entry, upstream: Upstream, context: SessionContext): ServerCommand {
  const { options } = context;
  const base = { requestUrl: upstream.url, connectionsMax: options.connectionsMax };
  if (entry.runtime === 'python') {
    return { name: entry.id, ...pythonCommand(entry, base) };
  }
  const { runtime, reuse, contestant } = entry;
  const command =
    entry.role === 'null-forwarder'
      ? launchCommand({ ...base, program: 'null-forwarder', runtime })
      : launchCommand({ ...base, program: 'api', runtime, reuse, clients: [contestant] });
  return { name: entry.id, ...command };
}

/** Starts the process and has it answer once. @throws Error when it does not, with the reason */
export async function openSession(plan: SessionPlan, context: SessionContext): Promise<Session> {
  const { entry, upstreamLatencyMs } = plan;
  const upstream = await context.upstreams.get(entry.protocol, upstreamLatencyMs, entry.runtime);
  const server =
    entry.role === 'direct'
      ? null
      : await context.children.startServer(serverCommand(entry, upstream, context));
  try {
    const answerMs = await checkAnswer(entry, loadUrl(entry, upstream, server));
    return { plan, upstream, server, answerMs, warm: server === null };
  } catch (error) {
    await server?.stop();
    throw error;
  }
}

function loadUrl(entry: Entry, upstream: Upstream, server: ServerProcess | null): string {
  const base = server === null ? upstream.url : `http://127.0.0.1:${server.port}/`;
  return `${base}${entryPath(entry)}`;
}

export interface Run {
  measurement: Measurement;
  oha: unknown;
  selfCheckProblems: string[];
}

/** One cell. @throws Error when the generator or the process under test failed */
export async function runCell(
  session: Session,
  cell: Cell,
  position: { round: number; order: number; seed: number },
  context: SessionContext,
): Promise<Run> {
  const { plan, upstream, server, answerMs } = session;
  const { entry } = plan;
  const measureUrl = server === null ? null : `http://127.0.0.1:${server.port}/_onehop/measure/`;
  const resetUrls = [upstream.resetUrl];
  if (measureUrl !== null) resetUrls.push(`${measureUrl}reset/`);
  const calibrationMs = calibrate();
  const load = await context.runLoad(
    loadPlan({
      entry,
      cell,
      url: loadUrl(entry, upstream, server),
      resetUrls,
      options: context.options,
      answerMs,
      warm: session.warm,
      seed: position.seed,
    }),
  );
  session.warm = true;
  const ended = server?.exitReason() ?? null;
  if (ended !== null) {
    throw new Error(`the API process ended during the run (${ended}): ${server?.stderrTail()}`);
  }
  const lost = unaccountedRequests(load);
  if (lost > 0) throw new Error(`the load generator lost ${lost} requests of its schedule`);
  const counters = await readCounters(measureUrl, upstream.countersUrl);
  const where = { ...position, entry: entry.id, cell: cell.id, calibrationMs };
  return {
    measurement: toMeasurement(where, { load, ...counters }),
    oha: load.oha,
    selfCheckProblems: load.selfCheckProblems,
  };
}
