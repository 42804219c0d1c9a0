/**
 * The generator proper: slots on the transport and the response parser, nothing between. No promise,
 * closure or timer is made per request; the clock is read once per readiness event.
 *
 * Where an instant is shared: the end of a response is taken when its bytes are delivered, and in a
 * closed loop it is also the start of the next request on that connection, so that parsing and
 * writing count as latency rather than vanish between two requests.
 */
import type { OnehopError } from 'onehop/core';
import { Framing, Read } from 'onehop/http1';
import { type Socket, type SocketHandlers, type Transport, WriteStatus } from 'onehop/transport';
import { type Random, seededRandom } from '../stats/random.ts';
import { errorText, LoadAbort } from './errors.ts';
import { createPacer, type Pacer } from './pacer.ts';
import type { Recorder } from './recorder.ts';
import type { Origins, PreparedRequest } from './request.ts';
import { parseTarget, requestBytes } from './request.ts';
import type { Schedule } from './schedule.ts';
import { Slot, SlotPhase } from './slot.ts';
import type { LoadPlan } from './types.ts';

const Never = Number.POSITIVE_INFINITY;

/** One stretch of a run: the warm-up or the run proper. */
export interface EnginePhase {
  recorder: Recorder;
  requests: number | null;
  durationMs: number | null;
  schedule: Schedule | null;
  waitOngoing: boolean;
}

export interface PhaseOutcome {
  startedMs: number;
  durationMs: number;
  abortedAtDeadline: number;
  /** Mean number of requests under way, from the open loop's own bookkeeping. */
  inFlightMean: number;
}

export class LoadEngine {
  private readonly plan: LoadPlan;
  private readonly transport: Transport;
  private readonly origins: Origins;
  private readonly requests: readonly PreparedRequest[];
  private readonly random: Random;
  private readonly handlers: SocketHandlers<Slot>;
  private readonly slots: Slot[] = [];
  private readonly freeSlots: Slot[] = [];
  private readonly expectBody: Buffer | null;
  private readonly expectPattern: RegExp | null;
  private readonly checksBody: boolean;

  private recorder!: Recorder;
  private schedule: Schedule | null = null;
  private pacer: Pacer | null = null;
  private startMs = 0;
  private dueMs = Never;
  private deadlineMs = Never;
  private requestsLeft = 0;
  private issuing = false;
  private ended = true;
  private onEnd: (() => void) | null = null;
  private onConnected: (() => void) | null = null;
  private connecting = 0;
  private lastEndMs = 0;
  private inFlightSinceMs = 0;
  private inFlightArea = 0;
  inFlight = 0;
  inFlightPeak = 0;
  connectionsEstablished = 0;
  private connectFailures = 0;
  private fatal: LoadAbort | null = null;

  constructor(
    plan: LoadPlan,
    transport: Transport,
    origins: Origins,
    requests: readonly PreparedRequest[],
  ) {
    this.plan = plan;
    this.transport = transport;
    this.origins = origins;
    this.requests = requests;
    this.random = seededRandom(plan.seed);
    this.expectBody = plan.expectBody === null ? null : Buffer.from(plan.expectBody);
    this.expectPattern =
      plan.expectBodyPattern === null ? null : new RegExp(plan.expectBodyPattern);
    this.checksBody = this.expectBody !== null || this.expectPattern !== null;
    this.handlers = {
      open: (socket) => this.opened(socket),
      data: (socket, bytes) => this.received(socket, bytes),
      drain: () => {},
      end: (socket) => this.halfClosed(socket),
      close: (socket, error) => this.closed(socket, error),
    };
    for (let i = 0; i < plan.connections; i++) this.slots.push(new Slot(plan.sse));
  }

  private now(): number {
    return this.transport.clock.nowMs();
  }

  /** Opens every connection ahead of the clock; failures count as such in `recorder`. */
  async connectAll(recorder: Recorder): Promise<void> {
    this.recorder = recorder;
    const sweeper = this.startSweeper();
    await new Promise<void>((resolve) => {
      this.onConnected = resolve;
      const { origin } = this.requests[0]!;
      for (const slot of this.slots) {
        slot.loaded = false;
        this.connect(slot, origin, this.now());
      }
    });
    this.onConnected = null;
    clearInterval(sweeper);
    if (this.fatal !== null) throw this.fatal;
  }

  /** Starts the thread an open loop needs, ahead of the clock and of the bookkeeping of CPU time. */
  async preparePacer(schedule: Schedule | null): Promise<void> {
    if (schedule !== null) this.pacer ??= await createPacer(1_000 / schedule.ratePerS);
  }

  /** Runs one phase to its end on the connections there are. @throws LoadAbort */
  async runPhase(phase: EnginePhase, signal: AbortSignal | null): Promise<PhaseOutcome> {
    this.recorder = phase.recorder;
    this.schedule = phase.schedule;
    this.requestsLeft = phase.requests ?? Never;
    this.ended = false;
    this.issuing = true;
    this.inFlight = 0;
    this.inFlightPeak = 0;
    this.inFlightArea = 0;
    const finished = new Promise<void>((resolve) => {
      this.onEnd = resolve;
    });
    await this.preparePacer(phase.schedule);
    this.startMs = this.now();
    this.inFlightSinceMs = this.startMs;
    this.lastEndMs = this.startMs;
    this.deadlineMs = phase.durationMs === null ? Never : this.startMs + phase.durationMs;
    const wait = phase.waitOngoing || phase.schedule !== null;
    const timers: NodeJS.Timeout[] = [];
    if (phase.durationMs !== null) {
      const graceMs = wait ? this.plan.graceMs : 0;
      // An open loop ends with its schedule: what was due before the end is sent, even if late.
      if (phase.schedule === null) {
        timers.push(setTimeout(() => this.deadline(wait), phase.durationMs));
      }
      if (wait) {
        timers.push(
          setTimeout(() => this.end(), Math.min(phase.durationMs + graceMs, 2 ** 31 - 1)),
        );
      }
    }
    const interrupt = (): void => this.end();
    signal?.addEventListener('abort', interrupt, { once: true });
    const sweeper = this.startSweeper();
    if (phase.schedule === null) this.startClosed();
    else this.startOpen();
    if (signal?.aborted === true) this.end();
    await finished;
    for (const timer of timers) clearTimeout(timer);
    clearInterval(sweeper);
    signal?.removeEventListener('abort', interrupt);
    this.pacer?.stop();
    this.pacer = null;
    const aborted = this.abandonOngoing();
    this.connecting = 0;
    if (this.fatal !== null) throw this.fatal;
    // Cut off by the clock: the clock's end. Else the run is over with its last answer.
    const endMs = aborted > 0 || this.recorder.completed === 0 ? this.now() : this.lastEndMs;
    const durationMs = Math.max(endMs - this.startMs, 1e-3);
    this.recorder.rates.flush();
    return {
      startedMs: this.startMs,
      durationMs,
      abortedAtDeadline: aborted,
      inFlightMean: this.inFlightArea / durationMs,
    };
  }

  /** Closes every connection. */
  shutdown(): void {
    this.pacer?.stop();
    for (const slot of this.slots) this.drop(slot);
  }

  // ---- starting and ending ----------------------------------------------------------------

  private startClosed(): void {
    for (const slot of this.slots) {
      if (this.requestsLeft <= 0) break;
      this.next(slot, this.now());
    }
    if (this.inFlight === 0) this.end();
  }

  private startOpen(): void {
    this.freeSlots.length = 0;
    for (const slot of this.slots) this.release(slot);
    this.dueMs = this.startMs + this.schedule!.dueMs;
    this.pacer!.start(
      () => this.now(),
      () => this.dueMs,
      () => this.dispatchDue(),
    );
  }

  private deadline(wait: boolean): void {
    this.issuing = false;
    this.dueMs = Never;
    if (!wait || this.inFlight === 0) this.end();
  }

  private end(): void {
    if (this.ended) return;
    this.ended = true;
    this.issuing = false;
    this.dueMs = Never;
    const { onEnd } = this;
    this.onEnd = null;
    onEnd?.();
  }

  /** Drops what is under way when the phase is over. @returns how many requests that were. */
  private abandonOngoing(): number {
    let aborted = 0;
    for (const slot of this.slots) {
      if (slot.phase === SlotPhase.Idle) continue;
      if (slot.loaded) aborted++;
      this.drop(slot);
      slot.phase = SlotPhase.Idle;
      slot.loaded = false;
    }
    this.countInFlight(this.now(), -this.inFlight);
    return aborted;
  }

  private startSweeper(): NodeJS.Timeout {
    const { timeoutMs, connectTimeoutMs } = this.plan;
    const shortest = Math.min(timeoutMs ?? connectTimeoutMs, connectTimeoutMs);
    const everyMs = Math.max(2, Math.min(100, shortest / 20));
    return setInterval(() => this.sweep(this.now()), everyMs);
  }

  /** The deadlines of requests and connects: one timer for all of them. */
  private sweep(nowMs: number): void {
    const { timeoutMs, connectTimeoutMs } = this.plan;
    for (const slot of this.slots) {
      if (slot.phase === SlotPhase.Connecting && nowMs - slot.connectFromMs >= connectTimeoutMs) {
        this.fail(slot, 'connect timeout', nowMs);
      } else if (
        timeoutMs !== null &&
        slot.loaded &&
        slot.phase !== SlotPhase.Idle &&
        nowMs - Math.max(slot.fromMs, slot.connectFromMs) >= timeoutMs
      ) {
        this.fail(slot, 'timeout', nowMs);
      }
    }
  }

  // ---- issuing ----------------------------------------------------------------------------

  private dispatchDue(): void {
    let nowMs = this.now();
    while (this.dueMs <= nowMs) {
      const intendedMs = this.dueMs;
      this.requestsLeft--;
      this.advanceSchedule();
      this.recorder.scheduleLag.push(nowMs - intendedMs);
      const slot = this.freeSlot();
      if (slot === null) this.recorder.dropped++;
      else this.begin(slot, intendedMs, nowMs);
      nowMs = this.now();
    }
    if (!this.issuing && this.inFlight === 0) this.end();
  }

  private advanceSchedule(): void {
    const schedule = this.schedule!;
    schedule.advance();
    const due = this.startMs + schedule.dueMs;
    if (this.requestsLeft <= 0 || due >= this.deadlineMs) {
      this.dueMs = Never;
      this.issuing = false;
    } else this.dueMs = due;
  }

  /** The connection used last comes first: it is warm. A new one when all are busy. */
  private freeSlot(): Slot | null {
    const slot = this.freeSlots.pop();
    if (slot !== undefined) {
      slot.free = false;
      return slot;
    }
    if (this.inFlight >= this.plan.inFlightMax) return null;
    const added = new Slot(this.plan.sse);
    this.slots.push(added);
    return added;
  }

  private release(slot: Slot): void {
    if (slot.free) return;
    slot.free = true;
    this.freeSlots.push(slot);
  }

  /** Closed loop: the next request of a slot, or none. */
  private next(slot: Slot, nowMs: number): void {
    if (!this.issuing || this.requestsLeft <= 0 || nowMs >= this.deadlineMs) {
      if (this.inFlight === 0) {
        // With a deadline ahead of us and nothing left to send the phase is over at once.
        this.end();
      }
      return;
    }
    this.requestsLeft--;
    this.begin(slot, nowMs, nowMs);
  }

  private begin(slot: Slot, fromMs: number, nowMs: number): void {
    this.countInFlight(nowMs, 1);
    // It was wanted, hence under way, from the intended instant.
    this.inFlightArea += nowMs - fromMs;
    const { requests } = this;
    const index = requests.length === 1 ? 0 : Math.floor(this.random() * requests.length);
    slot.request = requests[index]!;
    slot.fromMs = fromMs;
    slot.loaded = true;
    slot.connectMs = -1;
    slot.cold = false;
    slot.redirects = 0;
    this.start(slot, nowMs);
  }

  private start(slot: Slot, nowMs: number): void {
    const request = slot.request!;
    if (slot.socket === null || slot.origin !== request.origin) {
      this.drop(slot);
      this.connect(slot, request.origin, nowMs);
    } else this.send(slot, nowMs);
  }

  private connect(slot: Slot, origin: PreparedRequest['origin'], nowMs: number): void {
    slot.phase = SlotPhase.Connecting;
    slot.origin = origin;
    slot.connectFromMs = nowMs;
    slot.answered = 0;
    this.connecting++;
    slot.socket = this.transport.connect(origin.connect, this.handlers, slot);
  }

  private send(slot: Slot, nowMs: number): void {
    const request = slot.request!;
    slot.phase = SlotPhase.Waiting;
    slot.sentMs = nowMs;
    slot.firstByteMs = -1;
    slot.bodyBytes = 0;
    slot.bodyMatches = true;
    slot.location = null;
    slot.events?.reset();
    slot.parser.begin(request.isHead);
    if (slot.socket!.write(request.bytes, 0, request.bytes.length) === WriteStatus.Closed) {
      // Nothing was sent. The transport closes once it returns to the event loop.
      if (slot.socket !== null) this.fail(slot, errorText('UPSTREAM_CLOSED'), nowMs);
    }
  }

  private countInFlight(nowMs: number, change: number): void {
    this.inFlightArea += this.inFlight * (nowMs - this.inFlightSinceMs);
    this.inFlightSinceMs = nowMs;
    this.inFlight += change;
    if (this.inFlight > this.inFlightPeak) this.inFlightPeak = this.inFlight;
  }

  // ---- what the transport reports ---------------------------------------------------------

  private opened(socket: Socket<Slot>): void {
    const slot = socket.state;
    if (slot.socket !== socket || slot.phase !== SlotPhase.Connecting) return;
    const nowMs = this.now();
    this.connecting--;
    this.connectionsEstablished++;
    const tookMs = nowMs - slot.connectFromMs;
    if (slot.loaded) {
      slot.connectMs = tookMs;
      slot.cold = !slot.connectedBefore || !this.plan.keepAlive;
      slot.connectedBefore = true;
      this.send(slot, nowMs);
      return;
    }
    slot.connectedBefore = true;
    slot.phase = SlotPhase.Idle;
    this.recorder.connect.push(tookMs);
    if (this.connecting === 0) this.onConnected?.();
  }

  private received(socket: Socket<Slot>, bytes: Uint8Array): void {
    const slot = socket.state;
    if (slot.socket !== socket) return;
    const nowMs = this.now();
    if (slot.phase !== SlotPhase.Waiting) {
      // Bytes nobody asked for: the connection cannot be trusted any more.
      this.drop(slot);
      return;
    }
    const { parser } = slot;
    let at = 0;
    for (;;) {
      const read = parser.read(bytes, at, bytes.length);
      at = parser.position;
      switch (read) {
        case Read.Head: {
          const { head } = parser;
          slot.status = head.status;
          if (head.status >= 300 && head.status < 400 && this.plan.redirectsMax > 0) {
            slot.location = head.get('location');
          }
          break;
        }
        case Read.Interim:
          break;
        case Read.Body:
          this.body(slot, bytes, parser.bodyStart, parser.bodyEnd, nowMs);
          break;
        case Read.End:
          this.answeredFully(slot, nowMs, at < bytes.length);
          return;
        case Read.NeedMore:
          return;
        default:
          this.fail(slot, errorText('RESPONSE_INVALID'), nowMs);
          return;
      }
    }
  }

  private body(slot: Slot, bytes: Uint8Array, start: number, end: number, nowMs: number): void {
    if (end === start) return;
    if (slot.firstByteMs < 0) {
      slot.firstByteMs = nowMs - (this.schedule === null ? slot.fromMs : slot.sentMs);
    }
    if (slot.events !== null) slot.events.take(bytes, start, end, nowMs, this.recorder.sseGap);
    if (this.checksBody) this.compare(slot, bytes, start, end);
    slot.bodyBytes += end - start;
  }

  private compare(slot: Slot, bytes: Uint8Array, start: number, end: number): void {
    if (this.expectPattern !== null) {
      slot.bodyParts.push(Buffer.from(bytes.subarray(start, end)));
    }
    const expected = this.expectBody;
    if (expected === null || !slot.bodyMatches) return;
    const offset = slot.bodyBytes;
    const until = offset + end - start;
    slot.bodyMatches =
      until <= expected.length && expected.compare(bytes, start, end, offset, until) === 0;
  }

  private bodyIsRight(slot: Slot): boolean {
    if (this.expectBody !== null) {
      if (!slot.bodyMatches || slot.bodyBytes !== this.expectBody.length) return false;
    }
    if (this.expectPattern === null) return true;
    const text = Buffer.concat(slot.bodyParts).toString('utf8');
    slot.bodyParts.length = 0;
    return this.expectPattern.test(text);
  }

  private answeredFully(slot: Slot, nowMs: number, extraBytes: boolean): void {
    const { head } = slot.parser;
    const reusable =
      head.keepAlive && head.framing !== Framing.Tunnel && this.plan.keepAlive && !extraBytes;
    slot.answered++;
    if (slot.location !== null && slot.redirects < this.plan.redirectsMax) {
      if (!reusable) this.drop(slot);
      this.redirect(slot, nowMs);
      return;
    }
    const { recorder } = this;
    const good = slot.status >= 200 && slot.status < 300;
    if (this.checksBody) {
      const right = this.bodyIsRight(slot);
      if (!right) recorder.invalidBodies++;
      if (good && right) recorder.valid++;
    } else if (good) recorder.valid++;
    if (slot.events !== null) recorder.sseEvents += slot.events.events;
    recorder.record(
      nowMs - this.startMs,
      nowMs - slot.fromMs,
      nowMs - (this.schedule === null ? slot.fromMs : slot.sentMs),
      slot.firstByteMs,
      slot.status,
      slot.connectMs,
      slot.cold,
      slot.bodyBytes,
    );
    this.lastEndMs = nowMs;
    if (!reusable) this.drop(slot);
    this.settle(slot, nowMs);
  }

  /** The slot has nothing under way any more. */
  private settle(slot: Slot, nowMs: number): void {
    slot.phase = SlotPhase.Idle;
    slot.loaded = false;
    this.countInFlight(nowMs, -1);
    if (this.ended) return;
    if (this.schedule === null) {
      this.next(slot, nowMs);
      return;
    }
    this.release(slot);
    if (nowMs >= this.dueMs) this.dispatchDue();
    else if (!this.issuing && this.inFlight === 0) this.end();
  }

  private redirect(slot: Slot, nowMs: number): void {
    const from = slot.request!;
    slot.redirects++;
    let url: URL;
    try {
      url = parseTarget(new URL(slot.location!, from.url).href);
    } catch {
      this.fail(slot, errorText('REDIRECT_FAILED'), nowMs);
      return;
    }
    // RFC 9110 section 15.4: 303 asks for GET; browsers and oha do so for 301 and 302 to POST too.
    const isGet = slot.status === 303 || (slot.status <= 302 && this.plan.method === 'POST');
    const method = isGet && !from.isHead ? 'GET' : this.plan.method;
    const follow = (origin: PreparedRequest['origin'], atMs: number): void => {
      const body = method === this.plan.method ? this.plan.body : null;
      const bytes = requestBytes(this.plan, origin, url, method, body);
      slot.request = { origin, url, bytes, isHead: from.isHead };
      this.start(slot, atMs);
    };
    const known = this.origins.peek(url);
    if (known !== null) {
      follow(known, nowMs);
      return;
    }
    this.origins.resolve(url).then(
      (origin) => {
        if (slot.loaded && !this.ended) follow(origin, this.now());
      },
      () => this.fail(slot, errorText('RESOLVE_FAILED'), this.now()),
    );
  }

  private halfClosed(socket: Socket<Slot>): void {
    const slot = socket.state;
    if (slot.socket !== socket) return;
    if (slot.phase !== SlotPhase.Waiting) {
      this.drop(slot);
      return;
    }
    const nowMs = this.now();
    const read = slot.parser.finish();
    if (read === Read.End) {
      this.answeredFully(slot, nowMs, true);
      return;
    }
    const begun = slot.bodyBytes > 0 || slot.parser.inHead;
    this.fail(slot, errorText(begun ? 'UPSTREAM_TRUNCATED' : 'UPSTREAM_CLOSED'), nowMs);
  }

  private closed(socket: Socket<Slot>, error: OnehopError | null): void {
    const slot = socket.state;
    if (slot.socket !== socket) return;
    const wasConnecting = slot.phase === SlotPhase.Connecting;
    if (slot.phase === SlotPhase.Idle) {
      slot.socket = null;
      return;
    }
    if (wasConnecting && error !== null) this.judgeConnectFailure(slot, error);
    const code = error?.code ?? 'UPSTREAM_CLOSED';
    this.fail(slot, errorText(code), this.now());
  }

  /** Nothing ever connected and everybody tried: the URL cannot be reached, so stop at once. */
  private judgeConnectFailure(slot: Slot, error: OnehopError): void {
    this.connectFailures++;
    if (this.connectionsEstablished > 0) return;
    if (this.connectFailures < Math.min(this.plan.connections, this.plan.requests ?? Never)) return;
    const where = slot.request?.url.origin ?? this.requests[0]!.url.origin;
    this.fatal ??= new LoadAbort(`cannot connect to ${where}: ${errorText(error.code)}`);
  }

  /** The request under way failed: counts it, drops the connection and goes on. */
  private fail(slot: Slot, text: string, nowMs: number): void {
    const { loaded, phase } = slot;
    if (phase === SlotPhase.Connecting) this.connecting--;
    this.drop(slot);
    slot.bodyParts.length = 0;
    if (text === 'connect timeout' && this.connectionsEstablished === 0 && !this.ended) {
      this.fatal ??= new LoadAbort(
        `cannot connect to ${this.requests[0]!.url.origin}: no answer within ${this.plan.connectTimeoutMs} ms`,
      );
    }
    this.recorder.recordError(text);
    if (!loaded) {
      slot.phase = SlotPhase.Idle;
      if (this.connecting === 0) this.onConnected?.();
      return;
    }
    if (this.fatal !== null) {
      slot.phase = SlotPhase.Idle;
      slot.loaded = false;
      this.end();
      return;
    }
    this.settle(slot, nowMs);
  }

  private drop(slot: Slot): void {
    const { socket } = slot;
    slot.socket = null;
    slot.origin = null;
    if (socket !== null) socket.destroy();
  }
}
