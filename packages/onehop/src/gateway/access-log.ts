/**
 * One line of JSON per exchange. Nothing secret gets in: no header fields, no bodies, and query
 * values whose name looks like a key are blanked out.
 */
import { ERRORS } from '../core/index.ts';
import type { Refusal } from '../server/index.ts';
import { LineLog } from '../telemetry/index.ts';
import type { GatewayExchange } from './exchange.ts';
import { ownMs } from './observer-metrics.ts';
import type { RetryDenied } from './retry-denied.ts';

const SECRET_NAME =
  /(^|[_\-.])(key|apikey|token|secret|password|passwd|pwd|auth|authorization|sig|signature|session|sid|code|credential|credentials|jwt)$|apikey|accesstoken/i;
const REDACTED = '***';
const pathLengthMax = 2048;

/** The target as received, with the values of key-like query parameters replaced. */
export function redactTarget(target: string): string {
  const question = target.indexOf('?');
  const text = target.length > pathLengthMax ? `${target.slice(0, pathLengthMax)}…` : target;
  if (question === -1 || question >= pathLengthMax) return text;
  const query = text.slice(question + 1).split('&');
  return `${text.slice(0, question)}?${query.map(redactPair).join('&')}`;
}

function redactPair(pair: string): string {
  const equals = pair.indexOf('=');
  if (equals === -1) return pair;
  let name = pair.slice(0, equals);
  try {
    name = decodeURIComponent(name);
  } catch {
    // A bad escape hides nothing worth keeping.
    return `${pair.slice(0, equals)}=${REDACTED}`;
  }
  return SECRET_NAME.test(name) ? `${pair.slice(0, equals)}=${REDACTED}` : pair;
}

const rounded = (ms: number): number => (ms > 0 ? Math.round(ms * 1000) / 1000 : 0);

/** Status for the log: 499 for a caller that left, whatever it had been sent. */
export const loggedStatus = (exchange: GatewayExchange): number =>
  exchange.error !== null && exchange.error.code === 'ABORTED' ? 499 : exchange.downstream.status;

export class AccessLog {
  readonly #log: LineLog;

  constructor(log: LineLog) {
    this.#log = log;
  }

  /** `where` as the configuration says it: `stdout` or a path. Throws when it cannot be opened. */
  static open(where: string): AccessLog {
    const onError = (error: Error): void =>
      console.error(`onehop: the access log cannot be written: ${error.message}`);
    return new AccessLog(new LineLog(where === 'stdout' ? null : where, { onError }));
  }

  get dropped(): number {
    return this.#log.dropped;
  }

  /** For log rotation. */
  reopen(): void {
    this.#log.reopen();
  }

  close(): Promise<void> {
    return this.#log.close();
  }

  add(exchange: GatewayExchange, totalMs: number): void {
    this.#log.add(accessLine(exchange, totalMs));
  }

  /** A request that the server half refused before it was routed. */
  addRefusal(refusal: Refusal): void {
    this.#log.add(refusalLine(refusal));
  }
}

function addressOf(exchange: GatewayExchange): string {
  if (exchange.remoteAddress !== '') return exchange.remoteAddress;
  try {
    return exchange.downstream.remoteAddress;
  } catch {
    // The connection is gone already.
    return '';
  }
}

/** The line, without its end. */
export function accessLine(exchange: GatewayExchange, totalMs: number): string {
  const { downstream, error, dispatchedMs } = exchange;
  const sinceDispatch = (atMs: number): number | null =>
    atMs > 0 ? rounded(atMs - dispatchedMs) : null;
  const code = error?.code ?? exchange.refusal;
  return JSON.stringify({
    time: new Date().toISOString(),
    requestId: exchange.requestId,
    method: exchange.method,
    path: redactTarget(exchange.received ?? exchange.target),
    route: exchange.route?.label ?? null,
    upstream: exchange.upstream?.name ?? null,
    target: (exchange.lastMember ?? exchange.member)?.label ?? null,
    status: loggedStatus(exchange),
    upstreamStatus: exchange.upstreamStatus === 0 ? null : exchange.upstreamStatus,
    attempts: exchange.attempts,
    error: code,
    phase: error?.phase ?? null,
    side: error === null ? null : ERRORS[error.code].side,
    queueMs: rounded(exchange.queueWaitMs),
    ownMs: rounded(ownMs(exchange, totalMs)),
    headMs: sinceDispatch(exchange.headMs),
    firstByteMs: sinceDispatch(exchange.firstByteMs),
    totalMs: rounded(totalMs),
    requestBytes: downstream.requestBytes,
    responseBytes: downstream.responseBytes,
    address: addressOf(exchange),
    streamed: exchange.stream !== null,
    cancelled: code === 'ABORTED',
    retriedFor: exchange.retrying === null ? null : exchange.retrying.codes,
    notRetried: notRetried(exchange),
    reason: error?.message ?? null,
  });
}

function notRetried(exchange: GatewayExchange): RetryDenied | null {
  const { error, retryDenied, attempts } = exchange;
  if (retryDenied !== null) return retryDenied;
  if (error === null || error.side !== 'upstream' || attempts === 0) return null;
  return exchange.committed ? 'committed' : null;
}

/** The line of a request that the server half refused: what it never had is null or 0. */
export function refusalLine(refusal: Refusal): string {
  const { status, error, remoteAddress, method, target } = refusal;
  const left = error.code === 'ABORTED';
  return JSON.stringify({
    time: new Date().toISOString(),
    requestId: null,
    method: method === '' ? null : method,
    path: target === '' ? null : redactTarget(target),
    route: null,
    upstream: null,
    target: null,
    status: left ? 499 : status,
    upstreamStatus: null,
    attempts: 0,
    error: error.code,
    phase: error.phase,
    side: ERRORS[error.code].side,
    queueMs: 0,
    ownMs: 0,
    headMs: null,
    firstByteMs: null,
    totalMs: 0,
    requestBytes: 0,
    responseBytes: 0,
    address: remoteAddress,
    streamed: false,
    cancelled: left,
    retriedFor: null,
    notRetried: null,
    reason: error.message,
  });
}
