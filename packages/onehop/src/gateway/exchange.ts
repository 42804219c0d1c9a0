/**
 * One request on its way through the gateway: everything that belongs to it lives in here and dies
 * with it. It is also the request that the client half dispatches, so forwarding makes one object.
 */
import type {
  DispatchRequest,
  KeptHead,
  RequestBody,
  Timeouts,
  Tunnel,
  Exchange as UpstreamExchange,
} from '../client/index.ts';
import { Deadline, type DeadlineOwner, type ErrorCode, type OnehopError } from '../core/index.ts';
import { FieldBlock } from '../http1/index.ts';
import type { Exchange as DownstreamExchange } from '../server/index.ts';
import type { Gateway } from './gateway.ts';
import type { HeadPlan } from './head-plan.ts';
import type { KeptBody } from './kept-body.ts';
import type { RetryDenied } from './retry-denied.ts';
import type { JsonScanner } from './routing/json-scanner.ts';
import type { RouteTable, Tables } from './tables.ts';
import type { Member, Upstream } from './upstream.ts';

/** What becomes of the request body. */
export const BodyPlan = {
  None: 0,
  /** Small and of known length: kept whole, sent with the head in one write, can be sent again. */
  Collect: 1,
  /** Passed on as it comes; with a scanner, each piece once that has judged it. */
  Stream: 2,
  /** Kept until `model` is found, then Collect or Stream. */
  Scan: 3,
  /** Not asked for yet: the upstream has the head only. Then Collect or Stream; see expectation.ts. */
  Expect: 4,
} as const;
export type BodyPlan = (typeof BodyPlan)[keyof typeof BodyPlan];

/** Bodies up to this size are kept whole before they are sent on, so that they can be sent again. */
export const collectBytesMax = 64 * 1024;

/** Stands for a body in memory that was sent and will not be again: not null, and not to be sent. */
const sentBody: RequestBody = { length: null };

export const timerKind = { queue: 0, tail: 1, keepAlive: 2, retry: 3, expect: 4 } as const;

/** What is known of attempts that failed and were made again. */
export class Retrying {
  /** What they failed with. */
  readonly codes: ErrorCode[] = [];
  /** What the attempt before the pause failed with; null: it is not between two attempts. */
  error: OnehopError | null = null;
  /** Who is to serve it after the pause. */
  member: Member | null = null;
  /** When the pause began, and how long all of them were. */
  pausedAtMs = 0;
  pausedMs = 0;
}

/** A response that is a stream of server-sent events: what each of its reads looks at, side by side. */
export class EventStream {
  /** Last event, held until the end or a few ms (design rule 7). */
  tail: Uint8Array | null = null;
  /** Where in an event the last byte sent was: comments may only stand between events. */
  atEventBoundary = true;
  /** The last byte sent ended a line. */
  atLineEnd = true;
  /** Bytes came in this read that the observer has not heard of. */
  unobserved = false;
  /** When the last of them came; 0 before the first. */
  lastByteMs = 0;
  /** Bytes of our own may stand between its events: no announced length, no content coding. */
  readonly mayInsert: boolean;

  constructor(mayInsert: boolean) {
    this.mayInsert = mayInsert;
  }
}

/**
 * Made for every request, so what few of them need is in objects of its own: JavaScriptCore gives an
 * object beyond 62 fields a second piece of memory.
 */
export class GatewayExchange implements DispatchRequest, DeadlineOwner {
  // What each read of a response looks at comes first, side by side.
  readonly gateway: Gateway;
  readonly downstream: DownstreamExchange<GatewayExchange>;
  route: RouteTable | null = null;
  upstream: Upstream | null = null;
  upstreamExchange: UpstreamExchange | null = null;
  /** The response, when it is one of events. */
  stream: EventStream | null = null;
  firstByteMs = 0;
  /** The head came with the read that is being handled: what else it brings came at `headMs`. */
  headJustRead = false;

  /** The tables it began with: a reload does not touch it. */
  readonly tables: Tables;

  // The request that is dispatched; see DispatchRequest.
  method = '';
  target = '';
  body: RequestBody = null;
  host: string | undefined = undefined;
  timeouts: Timeouts | undefined = undefined;
  retries: number | undefined = undefined;
  upgrade: string | undefined = undefined;
  kept: KeptHead | null = null;

  /** {@link fields} as text, without the request id. */
  fieldsText = '';
  /** What is known about its head because it came before. */
  plan: HeadPlan | null = null;
  path = '';
  /** Of the caller; empty while no route was found. */
  remoteAddress = '';
  requestId = '';
  model: string | null = null;
  /** The member of the attempt under way or made last. */
  member: Member | null = null;
  /** Members tried, as the balancer's bit mask. */
  tried = 0;
  keyHash = 0;
  attempts = 0;
  /** Those of them that are no tries: nothing was sent, or a pooled connection turned out stale. */
  freeAttempts = 0;
  /** Request target as it was received; `target` is what is sent. */
  received: string | null = null;
  /** The member that served last; `member` is null once the attempt is over. */
  lastMember: Member | null = null;
  /** Status of the upstream's response; 0 before its head. */
  upstreamStatus = 0;
  /** The gateway itself said no: the code of that. */
  refusal: string | null = null;
  /** The upstream side of an upgraded connection. */
  tunnel: Tunnel | null = null;
  /** The caller half-closed its side of it. */
  callerEnded = false;
  /** A byte of the response went downstream: never retried from here on. */
  committed = false;
  /** It is counted in the upstream's `pending`. */
  admitted = false;
  queued = false;
  /** Null while no attempt was made again. */
  retrying: Retrying | null = null;
  /** Why an attempt that failed was the last. */
  retryDenied: RetryDenied | null = null;
  /** The half-open breaker of the upstream waits for its result. */
  isProbe = false;
  /** Why it failed; null while it has not. */
  error: OnehopError | null = null;

  bodyPlan: BodyPlan = BodyPlan.None;
  /** Request bytes that wait; null while there never were any. */
  pieces: KeptBody | null = null;
  requestEnded = false;
  /** Trailer section that came before the upstream could take it. */
  trailers = '';
  /** Looks for the model; once that is found in a long body, for a second one. */
  scanner: JsonScanner | null = null;
  /** The upstream takes no more of the body. */
  uploadClosed = false;

  /** The caller said `TE: trailers`. */
  takesTrailers = false;
  responseTrailers: FieldBlock | null = null;

  // Instants in clock milliseconds; 0 is "not yet".
  readonly startMs: number;
  queuedMs = 0;
  dispatchedMs = 0;
  headMs = 0;
  /** When the upstream's response ended; the exchange ends with it unless the caller is slow. */
  endMs = 0;
  cancelledMs = 0;
  /** The request body was complete; 0 when it was not waited for. */
  bodyEndMs = 0;
  /** Time at upstreams so far, all attempts. */
  upstreamMs = 0;
  queueWaitMs = 0;

  timer: Deadline | null = null;

  constructor(
    gateway: Gateway,
    tables: Tables,
    downstream: DownstreamExchange<GatewayExchange>,
    startMs: number,
  ) {
    this.gateway = gateway;
    this.tables = tables;
    this.downstream = downstream;
    this.startMs = startMs;
  }

  /** Arms the exchange's one timer for `kind`; what it was armed for before is forgotten. */
  arm(kind: number, delayMs: number): void {
    const { wheel } = this.gateway;
    if (this.timer === null || this.timer.kind !== kind) {
      if (this.timer !== null) wheel.disarm(this.timer);
      this.timer = new Deadline(this, kind);
    }
    wheel.arm(this.timer, delayMs);
  }

  disarm(): void {
    if (this.timer !== null) this.gateway.wheel.disarm(this.timer);
  }

  onDeadline(kind: number): void {
    this.gateway.onExchangeTimer(this, kind);
  }

  onDeadlineThrew(_kind: number, error: unknown): void {
    this.gateway.onExchangeThrew(this, error);
  }

  /** The line that says {@link requestId}, for both directions. */
  get idLine(): string {
    return `x-request-id: ${this.requestId}\r\n`;
  }

  /** The fields to send: checked lines, and the id of this request unless the route has its own. */
  get fields(): FieldBlock {
    const own = this.route!.request?.ownNames?.has('x-request-id') === true;
    return FieldBlock.ofChecked(own ? this.fieldsText : this.fieldsText + this.idLine);
  }

  /** The head is sent ahead of its body. */
  get expectContinue(): boolean {
    return this.bodyPlan === BodyPlan.Expect;
  }

  /** What differs between requests of the same plan. */
  get slot(): string {
    return this.requestId;
  }

  get pieceBytes(): number {
    return this.pieces === null ? 0 : this.pieces.bytes;
  }

  /** The response has begun, so the body is not sent again: a stream may go on for minutes without it. */
  forgetBody(): void {
    if (this.bodyPlan === BodyPlan.Collect) this.body = sentBody;
  }
}
