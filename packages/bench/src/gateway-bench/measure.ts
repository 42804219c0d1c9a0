/** One forwarder under one load: checks, warm-up, the measured window and its CPU time. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { CliError, ExitCode } from '../cli-error.ts';
import { defaultPlan, type LoadPlan, type LoadResult, spawnLoad } from '../load/index.ts';
import { runtimeCommand } from '../load/spawn.ts';
import { chatAnswer, chatQuestion, eventText, paddedJson, promptOf } from './payload.ts';
import { startProgram } from './peers.ts';
import { type CpuSnapshot, cpuBetween, cpuSnapshot, rssBytes } from './process-stats.ts';
import type { Cell, Sample } from './types.ts';

export interface Subject {
  forwarder: string;
  origin: string;
  /** Null for the direct baseline: then there is no CPU to count. */
  pid: number | null;
  /** It is not of this tree: its wrong answers are its own. */
  isOther: boolean;
  /** How it ended by itself; null while it runs. */
  ended(): string | null;
}

export interface Pace {
  warmupMs: number;
  windowMs: number;
}

function snapshotOf(pid: number | null): CpuSnapshot | null {
  try {
    return pid === null ? null : cpuSnapshot(pid);
  } catch {
    return null;
  }
}

/** Called by the generator when its warm-up is over, so that CPU is read exactly then. */
export class WindowMark {
  #server: Server | null = null;
  #pid: number | null = null;
  /** Null when the process was gone by then. */
  #start: CpuSnapshot | null = null;
  url = '';

  async open(): Promise<void> {
    this.#server = createServer((_request, response) => {
      this.#start = snapshotOf(this.#pid);
      response.end();
    });
    await new Promise<void>((resolve) => this.#server!.listen(0, '127.0.0.1', resolve));
    this.url = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/`;
  }

  watch(pid: number | null): void {
    this.#pid = pid;
    this.#start = null;
  }

  /** CPU of the watched process since the mark, µs; null when it is gone or there was no mark. */
  sinceUs(): number | null {
    const now = snapshotOf(this.#pid);
    return this.#start === null || now === null ? null : cpuBetween(this.#start, now);
  }

  close(): void {
    this.#server?.close();
    this.#server?.closeAllConnections();
  }
}

function headersOf(cell: Cell, upstream: string): [string, string][] {
  const headers: [string, string][] = [
    ['accept', '*/*'],
    ['user-agent', 'onehop-gateway-bench'],
  ];
  if (cell.chat === true || cell.bodyBytes !== undefined) {
    headers.push(['content-type', 'application/json'], ['authorization', 'Bearer sk-bench']);
  }
  if (cell.chat === true) {
    // What Portkey's gateway needs to know where to forward; harmless to the others.
    headers.push(['x-portkey-provider', 'openai'], ['x-portkey-custom-host', `${upstream}/v1`]);
  }
  return headers;
}

function bodyOf(cell: Cell): Uint8Array | null {
  if (cell.chat === true) return Buffer.from(chatQuestion);
  return cell.bodyBytes === undefined ? null : promptOf(cell.bodyBytes);
}

function expectedBody(cell: Cell): string {
  if (cell.chat === true) return chatAnswer;
  if (cell.bodyBytes !== undefined) return JSON.stringify({ received: cell.bodyBytes });
  if (cell.kind === 'sse') return eventText.repeat(cell.events!);
  return paddedJson(Number(cell.path.slice(1)));
}

/** One request by hand before anything is timed: status, type and every byte of the body. */
export async function check(cell: Cell, subject: Subject, upstream: string): Promise<void> {
  const body = bodyOf(cell);
  const response = await fetch(subject.origin + cell.path, {
    method: body === null ? 'GET' : 'POST',
    headers: headersOf(cell, upstream),
    ...(body !== null && { body: Buffer.from(body) }),
  });
  const text = await response.text();
  const expected = expectedBody(cell);
  const same = cell.chat === true ? text.includes('"pong"') : text === expected;
  if (response.status === 200 && same) return;
  throw new CliError(
    `${subject.forwarder} answers ${cell.id} with ${response.status} and ${text.length} bytes ` +
      `that ${same ? 'are' : 'are not'} the upstream's: ${JSON.stringify(text.slice(0, 200))}`,
  );
}

function planOf(cell: Cell, subject: Subject, upstream: string, pace: Pace): LoadPlan {
  const body = bodyOf(cell);
  const plan = defaultPlan(subject.origin + cell.path, {
    method: body === null ? 'GET' : 'POST',
    headers: headersOf(cell, upstream),
    body,
    connections: cell.connections,
    durationMs: pace.windowMs,
    warmupMs: pace.warmupMs,
    connectFirst: true,
    waitOngoing: true,
    timeoutMs: 20_000,
  });
  // Portkey adds fields of its own to the JSON, so its bodies are checked once only.
  if (cell.chat !== true && cell.kind !== 'sse') plan.expectBody = Buffer.from(expectedBody(cell));
  if (cell.kind === 'sse') {
    const waves = Math.max(1, Math.round(pace.windowMs / (cell.events! * cell.paceMs!)));
    return {
      ...plan,
      sse: true,
      durationMs: null,
      warmupMs: 0,
      requests: cell.connections * waves,
    };
  }
  return plan;
}

function faultsOf(result: LoadResult): string[] {
  const faults: string[] = [];
  for (const [status, count] of Object.entries(result.statusCounts)) {
    if (!status.startsWith('2')) faults.push(`${count} answers with status ${status}`);
  }
  for (const [text, count] of Object.entries(result.errorCounts)) faults.push(`${count} x ${text}`);
  if (result.invalidBodies > 0) faults.push(`${result.invalidBodies} wrong bodies`);
  if (result.dropped > 0) faults.push(`${result.dropped} requests could not be sent in time`);
  if (result.completed === 0) faults.push('no request was completed');
  return faults;
}

export interface MeasureOptions {
  group: string;
  round: number;
  upstream: string;
  pace: Pace;
  ratePerS: number | null;
  signal: AbortSignal;
}

/** What is left of a run that came to nothing. */
export function failedSample(
  cell: Cell,
  { forwarder }: Subject,
  { group, round, ratePerS }: MeasureOptions,
  fault: string,
): Sample {
  return {
    group,
    cell: cell.id,
    forwarder,
    round,
    requests: 0,
    requestsPerS: 0,
    cpuUs: null,
    p50Ms: null,
    p99Ms: null,
    gapMaxMs: null,
    gapP99Ms: null,
    rssAddedBytes: null,
    rssBytes: 0,
    ratePerS: cell.kind === 'open' ? ratePerS : null,
    generatorCpu: null,
    invalid: [fault],
  };
}

/** Time for the system to tell that a process has ended whose connections were seen to break. */
const endMs = 200;

/**
 * A measured run of `cell`. The subject has been checked and is warm, or gets its warm-up here. One
 * that ends meanwhile makes the sample prove nothing; the others still have theirs.
 */
export async function measure(
  cell: Cell,
  subject: Subject,
  mark: WindowMark,
  options: MeasureOptions,
): Promise<Sample> {
  const before = subject.ended();
  if (before !== null) return failedSample(cell, subject, options, `it ${before} before`);
  if (cell.kind === 'idle') return measureIdle(cell, subject, options);
  mark.watch(subject.pid);
  const plan = planOf(cell, subject, options.upstream, options.pace);
  if (cell.kind === 'open') plan.ratePerS = options.ratePerS;
  let result: LoadResult;
  try {
    result = await spawnLoad({ ...plan, resetUrls: [mark.url] }, { signal: options.signal });
  } catch (error) {
    if (options.signal.aborted) throw new CliError('interrupted', ExitCode.Interrupted);
    await sleep(endMs);
    const how = subject.ended();
    if (how === null) throw error;
    return failedSample(cell, subject, options, `it ${how}`);
  }
  const usedUs = mark.sinceUs();
  if (options.signal.aborted) throw new CliError('interrupted', ExitCode.Interrupted);
  const units = cell.kind === 'sse' ? result.sseEvents : result.completed;
  const invalid = faultsOf(result);
  if (cell.kind === 'sse' && result.sseEvents !== result.completed * cell.events!) {
    invalid.push(`${result.sseEvents} events in ${result.completed} streams of ${cell.events}`);
  }
  if (invalid.length > 0) await sleep(endMs);
  const how = subject.ended();
  if (how !== null) return failedSample(cell, subject, options, `it ${how}`);
  return {
    group: options.group,
    cell: cell.id,
    forwarder: subject.forwarder,
    round: options.round,
    requests: result.completed,
    requestsPerS: result.requestsPerS,
    cpuUs: usedUs === null ? null : usedUs / units,
    p50Ms: result.latencyMs.p50,
    p99Ms: result.latencyMs.p99,
    gapMaxMs: result.sseGapMs?.max ?? null,
    gapP99Ms: result.sseGapMs?.p99 ?? null,
    rssAddedBytes: null,
    rssBytes: subject.pid === null ? 0 : rssBytes(subject.pid),
    ratePerS: plan.ratePerS,
    generatorCpu: result.cpuUtilisation,
    invalid,
  };
}

/** What idle connections cost: resident memory with them less that before. */
async function measureIdle(cell: Cell, subject: Subject, options: MeasureOptions): Promise<Sample> {
  const { pid } = subject;
  const before = pid === null ? 0 : rssBytes(pid);
  const script = fileURLToPath(new URL('./idle-holder.js', import.meta.url));
  const holder = await startProgram([
    runtimeCommand('auto'),
    script,
    subject.origin + cell.path,
    String(cell.connections),
  ]);
  try {
    // A moment for whatever the forwarder frees by itself.
    await sleep(1_000);
    const after = pid === null ? 0 : rssBytes(pid);
    return {
      group: options.group,
      cell: cell.id,
      forwarder: subject.forwarder,
      round: options.round,
      requests: Number(holder.line),
      requestsPerS: 0,
      cpuUs: null,
      p50Ms: null,
      p99Ms: null,
      gapMaxMs: null,
      gapP99Ms: null,
      rssAddedBytes: after - before,
      rssBytes: after,
      ratePerS: null,
      generatorCpu: null,
      invalid: [],
    };
  } finally {
    holder.child.stdin!.end();
    await sleep(150);
    await holder.stop();
  }
}
