/**
 * What each limit turns away, and where it is set: so that whoever is hit by one is told its name. Every
 * limit is in here; those that turn nobody away say what they do instead.
 */
import type { ErrorCode, LimitName, OnehopError } from '../../core/index.ts';

/**
 * Where a limit is set. `timeout`: at the route, where it says so, else at its upstream. `body`: at the
 * route, where it says so, else for all.
 */
export type LimitScope = 'gateway' | 'upstream' | 'timeout' | 'body';
export type LimitUnit = 'count' | 'bytes' | 'bytesPerSecond' | 'ms' | 'share';

export interface LimitSpec {
  readonly scope: LimitScope;
  /** As in the file; within the upstream where that is the scope. */
  readonly key: string;
  /** What of the compiled configuration has its value. */
  readonly field: string;
  readonly unit: LimitUnit;
  /** One of what was turned away, and what became of it: `request`, `refused`. */
  readonly what: string;
  readonly did: string;
  readonly advice: string;
}

const spec =
  (scope: LimitScope, what: string, did: string, advice = 'raise it') =>
  (key: string, field: string, unit: LimitUnit = 'count', other = advice): LimitSpec => ({
    ...{ scope, key, field, unit, what, did },
    advice: other,
  });

const request = spec('gateway', 'request', 'refused');
const connection = spec('gateway', 'connection', 'refused');
const waiting = spec('upstream', 'request', 'refused');
const response = spec('upstream', 'response', 'refused');
const late = spec('timeout', 'request', 'ended');

/** A limit that turns nobody away; the text says why it is not told of. */
type Silent = string;

export const LIMITS: Readonly<Record<LimitName, LimitSpec | Silent>> = {
  requestLineBytesMax: request('limits.requestLine', 'requestLineBytesMax', 'bytes'),
  headBytesMax: request('limits.head', 'headBytesMax', 'bytes'),
  headersCountMax: request('limits.headers', 'headersCountMax'),
  headerBytesMax: request('limits.header', 'headerBytesMax', 'bytes'),
  responseHeadBytesMax: response('limits.responseHead', 'responseHeadBytesMax', 'bytes'),
  responseHeadersCountMax: response('limits.responseHeaders', 'responseHeadersCountMax'),
  interimResponsesMax: response('limits.interim', 'interimResponsesMax'),
  trailerBytesMax: request('limits.trailers', 'trailerBytesMax', 'bytes'),
  trailersCountMax: request('limits.trailerFields', 'trailersCountMax'),
  chunkExtensionBytesMax: request('limits.chunkExtension', 'chunkExtensionBytesMax', 'bytes'),
  chunkExtensionsBytesMax: request('limits.chunkExtensions', 'chunkExtensionsBytesMax', 'bytes'),
  chunkSizeDigitsMax: request('limits.chunkSizeDigits', 'chunkSizeDigitsMax'),
  bodyBytesMax: spec('body', 'request', 'refused')('limits.body', 'bodyBytesMax', 'bytes'),
  scanBytesMax: request(
    'limits.scan',
    'scanBytesMax',
    'bytes',
    'raise it if these bodies name their model that late',
  ),
  scansBytesMax: request(
    'limits.scans',
    'scansBytesMax',
    'bytes',
    'raise it if the machine has the memory',
  ),
  relayBufferBytesMax: 'reading stops until there is room',
  stalledReadAheadBytesMax: 'reading stops until there is room',
  stalledReadersMax: 'reading stops until there is room',
  lingerBytesMax: 'follows an answer that is told of',
  firstRequestTimeoutMs: 'closes connections that ask nothing',
  requestHeadTimeoutMs: request('limits.headTime', 'requestHeadTimeoutMs', 'ms'),
  requestBodyGapTimeoutMs: request('limits.bodyGap', 'requestBodyGapTimeoutMs', 'ms'),
  requestBodyBytesPerSecondMin: request(
    'limits.bodyRate',
    'requestBodyBytesPerSecondMin',
    'bytesPerSecond',
    'lower it, or raise limits.bodyGrace',
  ),
  requestBodyGraceMs: 'told of as limits.bodyRate',
  keepAliveTimeoutMs: 'closes connections that ask nothing',
  requestsPerConnectionMax: 'the last response says that the connection closes',
  writeStallTimeoutMs: spec('gateway', 'response', 'cut off')(
    'limits.writeStall',
    'writeStallTimeoutMs',
    'ms',
    'these callers take nothing; raise it if they are only slow',
  ),
  lingerTimeoutMs: 'follows an answer that is told of',
  connectTimeoutMs: late('timeouts.connect', 'connectTimeoutMs', 'ms'),
  headTimeoutMs: late('timeouts.head', 'headTimeoutMs', 'ms'),
  firstByteTimeoutMs: late('timeouts.firstByte', 'firstByteTimeoutMs', 'ms'),
  idleTimeoutMs: late('timeouts.idle', 'idleTimeoutMs', 'ms'),
  totalTimeoutMs: late('timeouts.total', 'totalTimeoutMs', 'ms'),
  expectTimeoutMs: 'the caller is asked for its body',
  poolIdleTimeoutMs: 'closes connections that are not used',
  connectionsMax: connection('limits.connections', 'connectionsMax'),
  connectionsPerAddressMax: connection(
    'limits.connectionsPerAddress',
    'connectionsPerAddressMax',
    'count',
    'raise it or leave it out; if that is a proxy, name it in trustForwarded',
  ),
  connectionsPerOriginMax: 'more requests wait; told of as limits.queue and limits.queueWait',
  queueLengthMax: waiting(
    'limits.queue',
    'queueLengthMax',
    'count',
    'raise it, or limits.pending if the targets can take more',
  ),
  queueTimeoutMs: waiting(
    'limits.queueWait',
    'queueTimeoutMs',
    'ms',
    'raise it, or limits.pending if the targets can take more',
  ),
  retriesMax: 'the failure itself is what is told',
  retryBudgetRatio: spec('upstream', 'retry', 'not made')(
    'retry.budget',
    'budgetRatio',
    'share',
    'too many requests fail; raise it if the targets can take the retries',
  ),
  retryBudgetMin: 'told of as retry.budget',
  retryBackoffMs: 'a pause',
};

/** Errors that are the breach of one limit, whoever made them. */
const BY_CODE: Partial<Record<ErrorCode, LimitName>> = {
  REQUEST_TOO_LARGE: 'bodyBytesMax',
  URI_TOO_LONG: 'requestLineBytesMax',
  QUEUE_FULL: 'queueLengthMax',
  QUEUE_TIMEOUT: 'queueTimeoutMs',
  CONNECT_TIMEOUT: 'connectTimeoutMs',
  HEAD_TIMEOUT: 'headTimeoutMs',
  FIRST_BYTE_TIMEOUT: 'firstByteTimeoutMs',
  IDLE_TIMEOUT: 'idleTimeoutMs',
  TOTAL_TIMEOUT: 'totalTimeoutMs',
};

/** The limit that an error is the breach of; null: of none. */
export const limitOf = (error: OnehopError): LimitName | null =>
  error.limit ?? BY_CODE[error.code] ?? null;
