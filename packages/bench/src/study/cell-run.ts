/**
 * One closed-loop cell of one process: warmed up, then measured in one piece or by turns with others
 * in several, which add up to one measurement.
 */
import type { LoadPlan, PhaseLimits, SessionProcess } from '../load/index.ts';
import type { Cell } from '../results/types.ts';
import { median } from '../stats/index.ts';
import { jsonRequest, plainRequest } from './http.ts';
import {
  type ApiMeasure,
  calibrate,
  isSlow,
  loadPlan,
  type Position,
  toMeasurement,
  type UpstreamMeasure,
} from './measure.ts';
import type { Run, Session, SessionContext } from './session.ts';

/** Warming up goes by windows. */
const WINDOW_MS = 200;
/**
 * Compilers count calls, so warming up goes by requests too; for the slow the time limit comes first.
 * Between about 5,000 and 16,000 requests Bun's compiler threads cost as much in each window as in the
 * one before: that looks settled and is twice what it comes to.
 */
const WARMUP_REQUESTS = { node: 6000, bun: 18_000, python: 6000 } as const;
/** CPU per request of two windows against the two before them: above this it falls no more. */
const SETTLED_RATIO = 0.96;
/** Python does not compile: its warm-up only fills pools. */
const PYTHON_WARMUP_MS = 400;
/** Load before each piece: connections that closed meanwhile are opened, caches are filled. */
const LEAD_IN_MS = 25;
/** A piece has at least so many requests per connection: less would be mostly its start and end. */
const TURNS_MIN = 12;
/** And it lasts so long: the direct control is through with a small piece while connections still fill. */
const PIECE_MS_MIN = 40;

interface Seen {
  cpuUserUs: number;
  cpuSystemUs: number;
  sliceCpuUs: number[];
  slicePasses: number[];
  calibrationMs: number[];
  upstream: UpstreamMeasure;
}

/** Whether CPU per request has stopped falling, from the figures of successive windows. */
export function hasSettled(windowsUs: readonly number[]): boolean {
  if (windowsUs.length < 4) return false;
  const [a, b, c, d] = windowsUs.slice(-4) as [number, number, number, number];
  return c + d >= SETTLED_RATIO * (a + b);
}

/** In how many pieces, `most` at most, a cell can be cut at so many requests per second. */
export function piecesAt(cell: Cell, ratePerS: number, most: number): number {
  const { connections, durationMsMax, requests } = cell;
  const byTime = ((durationMsMax ?? Number.POSITIVE_INFINITY) / 1000) * ratePerS;
  const expected = Math.min(byTime, requests ?? Number.POSITIVE_INFINITY);
  const byTurns = expected / (TURNS_MIN * connections);
  const byLength = ((expected / ratePerS) * 1000) / PIECE_MS_MIN;
  return Math.max(1, Math.min(most, Math.floor(Math.min(byTurns, byLength)) || 1));
}

/**
 * Requests per second after one more window of the warm-up. The last may be a rest of a few
 * milliseconds, in which a busy machine answers nothing: it tells no rate when one is known.
 */
export function rateAfter(
  knownPerS: number,
  { completed, durationMs }: { completed: number; durationMs: number },
): number {
  if (knownPerS > 0 && durationMs < WINDOW_MS / 2) return knownPerS;
  return (completed * 1000) / durationMs;
}

export class CellRun {
  readonly session: Session;
  readonly cell: Cell;
  /** Time of its pieces so far, the turns of others not counted. */
  spentMs = 0;
  /** Cores that other processes kept busy meanwhile; null when not known. */
  otherCores: number | null = null;
  /** Completed requests per second, as last seen. */
  #ratePerS = 0;
  readonly #context: SessionContext;
  readonly #generator: SessionProcess;
  readonly #load: number;
  readonly #seen: Seen = {
    cpuUserUs: 0,
    cpuSystemUs: 0,
    sliceCpuUs: [],
    slicePasses: [],
    calibrationMs: [],
    upstream: { requests: 0, connectionsOpened: 0, concurrencyPeak: 0 },
  };

  private constructor(session: Session, cell: Cell, context: SessionContext, load: number) {
    this.session = session;
    this.cell = cell;
    this.#context = context;
    this.#generator = context.generator();
    this.#load = load;
  }

  /** Opens the connections. */
  static async open(
    session: Session,
    cell: Cell,
    seed: number,
    context: SessionContext,
  ): Promise<CellRun> {
    const plan = CellRun.#plan(session, cell, seed, context);
    return new CellRun(session, cell, context, await context.generator().open(plan));
  }

  static #plan(session: Session, cell: Cell, seed: number, context: SessionContext): LoadPlan {
    const { url, answerMs, plan } = session;
    const request = { entry: plan.entry, cell, url, resetUrls: [], answerMs, warm: true, seed };
    return loadPlan({ ...request, options: context.options });
  }

  /**
   * Loads the process until its CPU per request falls no more, at the latest after the time that the
   * settings allow. The routes that are asked round each measured piece are asked round each window
   * too: a compiler that meets them only later throws its optimised code away and starts afresh.
   */
  async warmUp(): Promise<void> {
    const { session } = this;
    if (session.warm) return;
    const startedMs = performance.now();
    const { entry } = session.plan;
    const limitMs = this.#warmupMs();
    const windowsUs: number[] = [];
    await this.#control('reset');
    let [beforeUs, requests] = [0, 0];
    while (limitMs > 0) {
      const goneMs = performance.now() - startedMs;
      if (goneMs >= limitMs) break;
      if (requests >= WARMUP_REQUESTS[entry.runtime] && hasSettled(windowsUs)) break;
      await this.#control('resume');
      const durationMs = Math.max(1, Math.min(WINDOW_MS, limitMs - goneMs));
      const completed = await this.#unrecorded(durationMs);
      await this.#control('pause');
      const nowUs = cpuUs(await this.#read());
      windowsUs.push((nowUs - beforeUs) / Math.max(1, completed));
      beforeUs = nowUs;
      requests += completed;
      if (entry.role === 'direct') break;
    }
    await this.#control('reset');
    await this.#control('pause');
    session.warm = true;
  }

  async #unrecorded(durationMs: number): Promise<number> {
    const limits = { requests: null, durationMs };
    const count = await this.#generator.run(this.#load, limits, false);
    this.#ratePerS = rateAfter(this.#ratePerS, count);
    return count.completed;
  }

  #warmupMs(): number {
    const { plan, answerMs } = this.session;
    const { warmupMs } = this.#context.options;
    if (isSlow(answerMs, plan.upstreamLatencyMs)) return 0;
    const mostMs = plan.entry.runtime === 'python' ? PYTHON_WARMUP_MS : warmupMs;
    return Math.min(mostMs, warmupMs) + 2 * plan.upstreamLatencyMs;
  }

  /** In how many pieces, `most` at most, the cell can be cut for the rate the warm-up has shown. */
  piecesMax(most: number): number {
    return piecesAt(this.cell, this.#ratePerS, most);
  }

  /** A piece like those of the turns that is not kept: what has cooled while others ran gets warm. */
  async rehearse(of: number): Promise<void> {
    const { plan, answerMs } = this.session;
    if (plan.entry.role === 'direct' || isSlow(answerMs, plan.upstreamLatencyMs)) return;
    await this.#control('reset');
    await this.#generator.run(this.#load, this.#limits(of), false);
    await this.#control('pause');
    await this.#read();
  }

  /**
   * One of `of` pieces, in a pass of the turns. @throws Error when the generator or the process under
   * test failed
   */
  async slice(of: number, pass = 0): Promise<void> {
    const startedMs = performance.now();
    const { pinning } = this.#context;
    const { pid } = this.#generator.child;
    const isCeiling = this.session.plan.entry.role === 'direct' && pid !== undefined;
    // The ceiling is what generator and upstream can do: nothing else needs a core now.
    if (isCeiling) pinning?.move(pid, 'all');
    try {
      await this.#slice(of, pass);
    } finally {
      if (isCeiling) pinning?.move(pid, 'rest');
      this.spentMs += performance.now() - startedMs;
    }
  }

  #limits(of: number): PhaseLimits {
    const part = (total: number | null): number | null =>
      total === null ? null : Math.max(1, Math.round(total / of));
    return { requests: part(this.cell.requests), durationMs: part(this.cell.durationMsMax) };
  }

  async #slice(of: number, pass: number): Promise<void> {
    const { session, cell } = this;
    const { upstream } = session;
    const seen = this.#seen;
    seen.calibrationMs.push(calibrate());
    if (!isSlow(session.answerMs, cell.upstreamLatencyMs)) {
      const durationMs = LEAD_IN_MS + 2 * cell.upstreamLatencyMs;
      await this.#unrecorded(durationMs);
    }
    await plainRequest('POST', upstream.resetUrl);
    const isFirst = seen.sliceCpuUs.length === 0;
    await this.#control(isFirst ? 'reset' : 'resume');
    const { completed } = await this.#generator.run(this.#load, this.#limits(of), true);
    await this.#control('pause');
    const api = await this.#read();
    const counted = await jsonRequest<UpstreamMeasure>('GET', upstream.countersUrl);
    const usedUs = cpuUs(api) - seen.cpuUserUs - seen.cpuSystemUs;
    seen.sliceCpuUs.push(usedUs / Math.max(1, completed));
    seen.slicePasses.push(pass);
    seen.cpuUserUs = api?.cpuUserUs ?? 0;
    seen.cpuSystemUs = api?.cpuSystemUs ?? 0;
    seen.upstream.requests += counted.requests;
    seen.upstream.connectionsOpened += counted.connectionsOpened;
    seen.upstream.concurrencyPeak = Math.max(
      seen.upstream.concurrencyPeak,
      counted.concurrencyPeak,
    );
    const ended = session.server?.exitReason() ?? null;
    if (ended !== null) {
      const said = session.server?.stderrTail() ?? '';
      throw new Error(`the API process ended during the run (${ended}): ${said}`);
    }
  }

  /** What all pieces came to. The connections are closed. */
  async finish(position: Omit<Position, 'entry' | 'cell' | 'calibrationMs'>): Promise<Run> {
    const load = await this.#generator.result(this.#load);
    const api = await this.#read();
    await this.close();
    const { sliceCpuUs, slicePasses, calibrationMs, upstream } = this.#seen;
    const measurement = toMeasurement(
      {
        ...position,
        entry: this.session.plan.entry.id,
        cell: this.cell.id,
        calibrationMs: median(calibrationMs),
      },
      { load, api, upstream },
    );
    if (sliceCpuUs.length > 1 && api !== null)
      Object.assign(measurement, { sliceCpuUs, slicePasses });
    if (this.otherCores !== null) measurement.otherCores = this.otherCores;
    return { measurement, oha: load.oha, selfCheckProblems: load.selfCheckProblems };
  }

  close(): Promise<void> {
    return this.#generator.close(this.#load);
  }

  async #control(action: 'reset' | 'pause' | 'resume'): Promise<void> {
    const { measureUrl } = this.session;
    if (measureUrl !== null) await jsonRequest('POST', `${measureUrl}${action}/`);
  }

  #read(): Promise<ApiMeasure | null> {
    const { measureUrl } = this.session;
    return measureUrl === null ? Promise.resolve(null) : jsonRequest('GET', measureUrl);
  }
}

function cpuUs(measure: ApiMeasure | null): number {
  return measure === null ? 0 : measure.cpuUserUs + measure.cpuSystemUs;
}
