/**
 * The generator proper: when a request starts, what its answer counts as and when a run is over. How
 * it gets onto the network is a wire's affair (wire.ts). No promise, closure or timer is made per
 * request; the clock is read once per readiness event.
 *
 * Where an instant is shared: the end of a response is taken when its bytes are delivered, and in a
 * closed loop it is also the start of the next request in that slot, so that parsing and writing
 * count as latency rather than vanish between two requests.
 */
import type { Clock } from 'onehop/core';
import { type Random, seededRandom } from '../stats/random.ts';
import { Answers } from './answers.ts';
import { errorText, LoadAbort } from './errors.ts';
import { InFlight } from './in-flight.ts';
import { OpenLoop, type OpenLoopHost } from './open-loop.ts';
import { createPacer, type Pacer } from './pacer.ts';
import type { Recorder } from './recorder.ts';
import { type LoadOrigin, type Origins, type PreparedRequest, redirectOf } from './request.ts';
import type { Schedule } from './schedule.ts';
import { type Slot, SlotPhase } from './slot.ts';
import type { LoadPlan } from './types.ts';
import type { Http2Figures, Wire, WireEvents, WireMaker } from './wire.ts';

const Never = Number.POSITIVE_INFINITY;

/** One stretch of a run: the warm-up or the run proper. */
export interface EnginePhase {
  recorder: Recorder;
  requests: number | null;
  durationMs: number | null;
  schedule: Schedule | null;
  waitOngoing: boolean;
  /** Where this phase begins on the recorder's time line: what it recorded before. Default 0. */
  recordedMs?: number;
}

export interface PhaseOutcome {
  startedMs: number;
  durationMs: number;
  abortedAtDeadline: number;
  /** Mean number of requests under way, from the open loop's own bookkeeping. */
  inFlightMean: number;
}

export class LoadEngine<S extends Slot = Slot> implements WireEvents<S>, OpenLoopHost<S> {
  private readonly plan: LoadPlan;
  private readonly clock: Clock;
  private readonly origins: Origins;
  private readonly requests: readonly PreparedRequest[];
  private readonly random: Random;
  private readonly wire: Wire<S>;
  private readonly slots: S[] = [];
  private readonly answers: Answers;
  private readonly underWay = new InFlight();

  private recorder!: Recorder;
  private openLoop: OpenLoop<S> | null = null;
  private pacer: Pacer | null = null;
  private startMs = 0;
  private deadlineMs = Never;
  private requestsLeft = 0;
  private issuing = false;
  private ended = true;
  private onEnd: (() => void) | null = null;
  private onConnected: (() => void) | null = null;
  private connecting = 0;
  private lastEndMs = 0;
  private connectFailures = 0;
  private fatal: LoadAbort | null = null;

  constructor(
    plan: LoadPlan,
    clock: Clock,
    origins: Origins,
    requests: readonly PreparedRequest[],
    wire: WireMaker<S>,
  ) {
    this.plan = plan;
    this.clock = clock;
    this.origins = origins;
    this.requests = requests;
    this.random = seededRandom(plan.seed);
    this.answers = new Answers(plan);
    this.wire = wire(this);
    const slots = plan.connections * plan.streamsPerConnection;
    for (let i = 0; i < slots; i++) this.slots.push(this.wire.newSlot());
  }

  get inFlight(): number {
    return this.underWay.count;
  }

  get inFlightPeak(): number {
    return this.underWay.peak;
  }

  get connectionsEstablished(): number {
    return this.wire.established;
  }

  get http2Figures(): Http2Figures | null {
    return this.wire.http2Figures();
  }

  /** Opens every connection ahead of the clock; failures count as such in `recorder`. */
  async connectAll(recorder: Recorder): Promise<void> {
    this.recorder = recorder;
    const sweeper = this.startSweeper();
    await new Promise<void>((resolve) => {
      this.onConnected = resolve;
      const { origin } = this.requests[0]!;
      for (const slot of this.slots) {
        if (!this.wire.opensConnection(slot)) continue;
        slot.loaded = false;
        this.connect(slot, origin, this.clock.nowMs());
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
    this.openLoop = null;
    this.ended = false;
    const finished = new Promise<void>((resolve) => {
      this.onEnd = resolve;
    });
    await this.preparePacer(phase.schedule);
    this.startMs = this.clock.nowMs();
    this.underWay.begin(this.startMs);
    this.answers.begin(
      phase.recorder,
      this.startMs,
      phase.recordedMs ?? 0,
      phase.schedule !== null,
    );
    this.lastEndMs = this.startMs;
    this.deadlineMs = phase.durationMs === null ? Never : this.startMs + phase.durationMs;
    const timers = this.startTimers(phase);
    const interrupt = (): void => this.end();
    signal?.addEventListener('abort', interrupt, { once: true });
    const sweeper = this.startSweeper();
    if (phase.schedule === null) this.startClosed(phase.requests ?? Never);
    else this.startOpen(phase.schedule, phase.requests ?? Never);
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
    const nothing = aborted > 0 || this.recorder.completed === 0;
    const endMs = nothing ? this.clock.nowMs() : this.lastEndMs;
    const durationMs = Math.max(endMs - this.startMs, 1e-3);
    this.recorder.rates.flush();
    return {
      startedMs: this.startMs,
      durationMs,
      abortedAtDeadline: aborted,
      inFlightMean: this.underWay.mean(durationMs),
    };
  }

  /** Closes every connection. */
  shutdown(): void {
    this.pacer?.stop();
    this.wire.shutdown();
  }

  // ---- starting and ending ----------------------------------------------------------------

  private startTimers({ durationMs, schedule, waitOngoing }: EnginePhase): NodeJS.Timeout[] {
    const timers: NodeJS.Timeout[] = [];
    if (durationMs === null) return timers;
    const wait = waitOngoing || schedule !== null;
    // An open loop ends with its schedule: what was due before the end is sent, even if late.
    if (schedule === null) timers.push(setTimeout(() => this.deadline(wait), durationMs));
    if (wait) {
      const latestMs = Math.min(durationMs + this.plan.graceMs, 2 ** 31 - 1);
      timers.push(setTimeout(() => this.end(), latestMs));
    }
    return timers;
  }

  private startClosed(requests: number): void {
    this.requestsLeft = requests;
    this.issuing = true;
    for (const slot of this.slots) {
      if (this.requestsLeft <= 0) break;
      this.next(slot, this.clock.nowMs());
    }
    if (this.inFlight === 0) this.end();
  }

  private startOpen(schedule: Schedule, requests: number): void {
    const { clock, recorder, startMs, deadlineMs } = this;
    const pacer = this.pacer!;
    this.openLoop = new OpenLoop<S>(
      { clock, schedule, pacer, recorder, startMs, deadlineMs, requests },
      this,
    );
    this.openLoop.start(this.slots);
  }

  private deadline(wait: boolean): void {
    this.issuing = false;
    if (!wait || this.inFlight === 0) this.end();
  }

  private end(): void {
    if (this.ended) return;
    this.ended = true;
    this.issuing = false;
    this.openLoop?.stop();
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
      this.wire.drop(slot);
      slot.phase = SlotPhase.Idle;
      slot.loaded = false;
    }
    this.underWay.change(this.clock.nowMs(), -this.inFlight);
    return aborted;
  }

  private startSweeper(): NodeJS.Timeout {
    const { timeoutMs, connectTimeoutMs } = this.plan;
    const shortest = Math.min(timeoutMs ?? connectTimeoutMs, connectTimeoutMs);
    const everyMs = Math.max(2, Math.min(100, shortest / 20));
    return setInterval(() => this.sweep(this.clock.nowMs()), everyMs);
  }

  /** The deadlines of requests and connects: one timer for all of them. */
  private sweep(nowMs: number): void {
    const { timeoutMs, connectTimeoutMs } = this.plan;
    for (const slot of this.slots) {
      if (slot.phase === SlotPhase.Connecting && nowMs - slot.connectFromMs >= connectTimeoutMs) {
        if (this.wire.established === 0 && !this.ended) {
          this.abort(`no answer within ${connectTimeoutMs} ms`);
        }
        this.failed(slot, 'connect timeout', nowMs);
      } else if (
        timeoutMs !== null &&
        slot.loaded &&
        slot.phase !== SlotPhase.Idle &&
        nowMs - Math.max(slot.fromMs, slot.connectFromMs) >= timeoutMs
      ) {
        this.failed(slot, 'timeout', nowMs);
      }
    }
  }

  // ---- issuing ----------------------------------------------------------------------------

  /** Open loop: a slot beyond those there are. */
  addSlot(): S | null {
    if (this.inFlight >= this.plan.inFlightMax) return null;
    const added = this.wire.newSlot();
    this.slots.push(added);
    return added;
  }

  scheduleOver(): void {
    if (this.inFlight === 0) this.end();
  }

  /** Closed loop: the next request of a slot, or none. */
  private next(slot: S, nowMs: number): void {
    if (!this.issuing || this.requestsLeft <= 0 || nowMs >= this.deadlineMs) {
      // With a deadline ahead of us and nothing left to send the phase is over at once.
      if (this.inFlight === 0) this.end();
      return;
    }
    this.requestsLeft--;
    this.begin(slot, nowMs, nowMs);
  }

  begin(slot: S, fromMs: number, nowMs: number): void {
    this.underWay.add(fromMs, nowMs);
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

  private start(slot: S, nowMs: number): void {
    const { origin } = slot.request!;
    if (this.wire.isOpen(slot, origin)) this.send(slot, nowMs);
    else this.connect(slot, origin, nowMs);
  }

  private connect(slot: S, origin: LoadOrigin, nowMs: number): void {
    slot.phase = SlotPhase.Connecting;
    slot.connectFromMs = nowMs;
    this.connecting++;
    this.wire.connect(slot, origin);
  }

  private send(slot: S, nowMs: number): void {
    slot.expectAnswer(nowMs);
    this.wire.send(slot, nowMs);
  }

  // ---- what the wire reports --------------------------------------------------------------

  opened(slot: S, nowMs: number): void {
    this.connecting--;
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

  head(slot: S, status: number, location: string | null): void {
    slot.status = status;
    slot.location = location;
  }

  body(slot: S, bytes: Uint8Array, start: number, end: number, nowMs: number): void {
    this.answers.body(slot, bytes, start, end, nowMs);
  }

  answered(slot: S, nowMs: number): void {
    if (slot.location !== null && slot.redirects < this.plan.redirectsMax) {
      this.redirect(slot, nowMs);
      return;
    }
    this.answers.record(slot, nowMs);
    this.lastEndMs = nowMs;
    this.settle(slot, nowMs);
  }

  /** The slot has nothing under way any more. */
  private settle(slot: S, nowMs: number): void {
    slot.phase = SlotPhase.Idle;
    slot.loaded = false;
    this.underWay.change(nowMs, -1);
    if (this.ended) return;
    if (this.openLoop === null) this.next(slot, nowMs);
    else this.openLoop.settled(slot, nowMs);
  }

  private redirect(slot: S, nowMs: number): void {
    slot.redirects++;
    const target = redirectOf(this.plan, slot.request!, slot.status, slot.location!);
    if (target === null) {
      this.failed(slot, errorText('REDIRECT_FAILED'), nowMs);
      return;
    }
    const known = this.origins.peek(target.url);
    if (known !== null) {
      slot.request = target.to(known);
      this.start(slot, nowMs);
      return;
    }
    this.origins.resolve(target.url).then(
      (origin) => {
        if (!slot.loaded || this.ended) return;
        slot.request = target.to(origin);
        this.start(slot, this.clock.nowMs());
      },
      () => this.failed(slot, errorText('RESOLVE_FAILED'), this.clock.nowMs()),
    );
  }

  sendAgain(slot: S, nowMs: number): void {
    this.start(slot, nowMs);
  }

  /** Nothing ever connected and everybody tried: the URL cannot be reached, so stop at once. */
  connectFailed(text: string): void {
    this.connectFailures++;
    if (this.wire.established > 0) return;
    if (this.connectFailures < Math.min(this.plan.connections, this.plan.requests ?? Never)) return;
    this.abort(text);
  }

  private abort(text: string): void {
    const where = this.requests[0]!.url.origin;
    this.fatal ??= new LoadAbort(`cannot connect to ${where}: ${text}`);
  }

  /** The request under way failed: counts it, drops the connection and goes on. */
  failed(slot: S, text: string, nowMs: number): void {
    const { loaded, phase } = slot;
    if (phase === SlotPhase.Connecting) this.connecting--;
    this.wire.drop(slot);
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
}
