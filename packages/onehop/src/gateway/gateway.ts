/** The gateway as a whole: listeners, the tables in force, reload and drain. */
import type { Origin } from '../client/index.ts';
import { type Clock, DeadlineWheel, OnehopError, type TimerHandle } from '../core/index.ts';
import { createServer, defaultServerLimits, type Server } from '../server/index.ts';
import {
  type Listener,
  transport as runtimeTransport,
  type Transport,
} from '../transport/index.ts';
import { admitWaiting } from './admission.ts';
import { onRetryTimer } from './attempt.ts';
import { checkConfig } from './config/load.ts';
import type { GatewayConfig, GatewayConfigInput } from './config/schema.ts';
import { errorBody, errorFacts } from './error-body.ts';
import { type GatewayExchange, timerKind } from './exchange.ts';
import { beginUpload } from './expectation.ts';
import { failInternal } from './fault.ts';
import { plainAddress } from './fields.ts';
import { HealthChecker } from './health.ts';
import { connectionsBound, LimitPlaces, LimitReporter } from './limits/index.ts';
import { type GatewayObserver, GuardedObserver, silentObserver } from './observer.ts';
import { endExchange, finish, onCallerGone, onRequestHead, settle } from './phases.ts';
import { failExchange } from './refusal.ts';
import { onStreamTimer } from './relay.ts';
import { onRequestBody, onRequestEnd } from './request-body.ts';
import { NameWatcher } from './resolver.ts';
import { ScanBudget } from './scan-budget.ts';
import { Tables } from './tables.ts';
import type { UpstreamEnvironment } from './upstream.ts';

export interface GatewayOptions {
  observer?: GatewayObserver;
  transport?: Transport;
  /** Share the ports with other workers that say so too. Default false: the bind is exclusive. */
  reusePort?: boolean;
  /** Bound sockets that were inherited, in the order of `listen` in the configuration. */
  descriptors?: readonly number[];
  random?: () => number;
  /** Stands in for the system's lookup of target names. */
  lookup?: NonNullable<UpstreamEnvironment['lookup']>;
}

/** How a gateway ends; default: the `drain` of its configuration. */
export interface DrainOptions {
  announceMs?: number;
  graceMs?: number;
  idleMs?: number;
}

/** How often it is looked whether a member that was reloaded away is still needed. */
const retireCheckMs = 500;
/** Time for the errors that end what is left after the grace to be written. */
const endingMs = 1000;

const originsOf = (tables: Tables): Origin[] =>
  [...tables.upstreams.values()].flatMap(({ members }) => members.map(({ origin }) => origin));

export class Gateway {
  tables: Tables;
  /** The one it was made with, guarded: no call of it throws. */
  readonly observer: GuardedObserver;
  readonly transport: Transport;
  readonly wheel: DeadlineWheel;
  readonly server: Server;
  readonly listeners: Listener[] = [];
  /** What requests hold whose model is looked for. */
  readonly scans: ScanBudget;
  /** Fails first when draining, so that load balancers stop sending. */
  ready = false;
  readonly #clock: Clock;
  readonly #reusePort: boolean;
  readonly #descriptors: readonly number[];
  /** 0 <= x < 1; for balancing and pauses. */
  readonly random: () => number;
  /** What limits turned away, as it is told. */
  readonly limitReporter: LimitReporter;
  /** Told of all that limits turn away. */
  readonly limits: LimitPlaces;
  readonly #lookup: GatewayOptions['lookup'];
  #checkers: HealthChecker[] = [];
  #watchers: NameWatcher[] = [];
  /** Members that a reload left behind, until the last exchange of their tables is over. */
  readonly #retired: { tables: Tables; origins: Origin[] }[] = [];
  #retireTimer: TimerHandle | null = null;
  #closed: Promise<void> | null = null;

  constructor(config: GatewayConfig, options: GatewayOptions = {}) {
    this.observer = new GuardedObserver(options.observer ?? silentObserver);
    this.transport = options.transport ?? runtimeTransport;
    this.#clock = this.transport.clock;
    this.wheel = new DeadlineWheel(this.#clock, undefined, (error, where) =>
      this.observer.onInternalError(error, where),
    );
    this.#reusePort = options.reusePort ?? false;
    this.#descriptors = options.descriptors ?? [];
    this.random = options.random ?? Math.random;
    this.#lookup = options.lookup;
    this.tables = new Tables(config, this.#environment(), null);
    const { limits } = config;
    this.scans = new ScanBudget(limits, this.transport);
    const connections = connectionsBound(limits.connectionsMax, defaultServerLimits.connectionsMax);
    this.limitReporter = new LimitReporter(this.wheel, (report) => this.observer.onLimit?.(report));
    this.limits = new LimitPlaces(this.limitReporter, limits, connections);
    this.server = createServer<GatewayExchange>({
      transport: this.transport,
      wheel: this.wheel,
      allowHalfOpen: 'probe',
      // Often the upstream's to send: see expectation.ts.
      autoContinue: false,
      handler: {
        // What throws in here is answered in the caller's dialect; the server's own 500 has none.
        onRequest: (downstream) => {
          try {
            onRequestHead(this, downstream);
          } catch (error) {
            if (downstream.state === undefined) throw error;
            failInternal(downstream.state, error, 'the head of a request');
          }
        },
        onBody: (downstream, bytes, start, end) => {
          try {
            onRequestBody(downstream.state!, bytes, start, end);
          } catch (error) {
            failInternal(downstream.state!, error, 'the body of a request');
          }
        },
        onEnd: (downstream) => {
          try {
            onRequestEnd(downstream.state!);
          } catch (error) {
            failInternal(downstream.state!, error, 'the end of a request');
          }
        },
        onDrain: (downstream) => downstream.state!.upstreamExchange?.resume(),
        onAbort: (downstream, error) => {
          if (downstream.state !== undefined) onCallerGone(downstream.state, error);
        },
        onFinish: (downstream) => {
          if (downstream.state !== undefined) finish(downstream.state);
        },
        onRefused: (refusal) => {
          this.observer.onRefused?.(refusal);
          this.limits.requestRefused(refusal.error, refusal.status, refusal.remoteAddress);
        },
        onConnectionRefused: (limit, status, address) =>
          this.limits.connectionRefused(limit, status, address),
        onError: (error, downstream) => {
          this.observer.onInternalError(error, 'a step of the downstream side');
          // Where `finish` itself threw, or what calls it: what it settles is settled all the same.
          if (downstream?.finished === true && downstream.state !== undefined) {
            settle(downstream.state);
          }
        },
      },
      // The names are the same: what the server half does not know it does not read.
      limits: {
        ...limits,
        connectionsMax: connections.max,
        connectionsPerAddressMax: limits.connectionsPerAddressMax ?? Number.POSITIVE_INFINITY,
        // Each route has its own, which may be higher than the general one.
        bodyBytesMax: Number.POSITIVE_INFINITY,
      },
      timeouts: limits,
      isTrusted: (address) => this.tables.trustedPeers.has(plainAddress(address)),
    });
  }

  #environment() {
    return {
      transport: this.transport,
      wheel: this.wheel,
      random: this.random,
      ...(this.#lookup === undefined ? {} : { lookup: this.#lookup }),
      onConnect: (upstream: string, durationMs: number) =>
        this.observer.onConnect?.(upstream, durationMs),
    };
  }

  nowMs(): number {
    return this.wheel.nowMs();
  }

  /**
   * Whether callers should be sent here: listening, not draining, and at least one upstream has a
   * target that is up. One dead upstream does not take the routes of the others out of service.
   */
  isReady(): boolean {
    if (!this.ready) return false;
    const nowMs = this.nowMs();
    for (const upstream of this.tables.upstreams.values()) {
      if (upstream.hasMemberUp(nowMs)) return true;
    }
    return false;
  }

  /** Opens every listener. Rejects with ADDRESS_IN_USE or LISTEN_FAILED; then nothing listens. */
  async listen(): Promise<readonly Listener[]> {
    try {
      for (const [index, { host, port, path }] of this.tables.config.listen.entries()) {
        const where = path === null ? { host, port } : { path };
        const descriptor = this.#descriptors[index];
        const shared = descriptor === undefined ? { reusePort: this.#reusePort } : { descriptor };
        this.listeners.push(await this.server.listen({ ...where, ...shared, backlog: 4096 }));
      }
    } catch (error) {
      await this.close({ graceMs: 0 });
      throw error;
    }
    this.#startChecks();
    this.ready = true;
    return this.listeners;
  }

  #startChecks(): void {
    for (const checker of this.#checkers) checker.stop();
    for (const watcher of this.#watchers) watcher.stop();
    this.#watchers = [];
    this.#checkers = [...this.tables.upstreams.values()].map((upstream) => {
      const checker = new HealthChecker(this, upstream);
      checker.start();
      const watcher = new NameWatcher(upstream, this.#environment(), () => {
        checker.sync();
        admitWaiting(upstream);
      });
      this.#watchers.push(watcher);
      watcher.start();
      return checker;
    });
  }

  /**
   * Puts a new configuration in force. Exchanges under way end with the old one; members that did
   * not change keep their connections. Listeners and downstream limits need a restart.
   */
  reload(config: GatewayConfig): void {
    const old = this.tables;
    this.tables = new Tables(config, this.#environment(), old);
    this.#startChecks();
    const kept = new Set(originsOf(this.tables));
    // Who waits in an old queue is let in by the old upstream when its exchanges end; a queue
    // without any must not be forgotten.
    for (const upstream of old.upstreams.values()) admitWaiting(upstream);
    const origins = originsOf(old).filter((origin) => !kept.has(origin));
    if (origins.length === 0) return;
    this.#retired.push({ tables: old, origins });
    this.#closeRetired();
  }

  /** Closes what only older tables use once no open exchange has them: it may still be dispatched. */
  #closeRetired(): void {
    const used = new Set<Tables>();
    this.server.forEachExchange(({ state }) => {
      if (state !== undefined) used.add((state as GatewayExchange).tables);
    });
    for (let index = this.#retired.length - 1; index >= 0; index--) {
      const { tables, origins } = this.#retired[index]!;
      if (used.has(tables)) continue;
      this.#retired.splice(index, 1);
      // Tables older still may share a target with these.
      for (const origin of origins) {
        const keeper = [...used].find((older) => originsOf(older).includes(origin));
        if (keeper === undefined) void origin.close();
        else this.#retired.push({ tables: keeper, origins: [origin] });
      }
    }
    if (this.#retireTimer !== null) this.#clock.clearTimer(this.#retireTimer);
    this.#retireTimer = this.#retired.length === 0 ? null : this.#retireLater();
  }

  #retireLater(): TimerHandle {
    return this.wheel.setTimer(
      'the closing of targets that a reload left behind',
      () => this.#closeRetired(),
      retireCheckMs,
      () => {
        this.#retireTimer = this.#retireLater();
      },
    );
  }

  /** The exchange's timer: its place in the queue, the tail or the comments of its stream. */
  onExchangeTimer(exchange: GatewayExchange, kind: number): void {
    if (kind === timerKind.queue) {
      if (!exchange.queued) return;
      exchange.queued = false;
      exchange.queueWaitMs = this.nowMs() - exchange.queuedMs;
      exchange.upstream!.queue.remove(exchange);
      failExchange(
        exchange,
        new OnehopError('QUEUE_TIMEOUT', 'no place came free in time', { phase: 'queue' }),
      );
    } else if (kind === timerKind.retry) onRetryTimer(exchange);
    else if (kind === timerKind.expect) beginUpload(exchange);
    else onStreamTimer(exchange, kind);
  }

  /** Its timer threw, whatever it was for. */
  onExchangeThrew(exchange: GatewayExchange, error: unknown): void {
    failInternal(exchange, error, 'a timer of an exchange');
  }

  /** Data of the event that ends a failed stream, in the dialect of its upstream. */
  errorEvent(exchange: GatewayExchange, error: OnehopError): string {
    const { name, config } = exchange.upstream!;
    return errorBody(config.protocol, errorFacts(error, name, exchange.requestId));
  }

  /** The grace is over: streams end with an error event, who waits for an answer gets one. */
  #endAll(): void {
    this.server.forEachExchange(({ state }) => {
      if (state === undefined) return;
      try {
        endExchange(state as GatewayExchange);
      } catch (error) {
        failInternal(state as GatewayExchange, error, 'the end of an exchange in a drain');
      }
    });
  }

  /**
   * Readiness fails now. Accepting goes on for `announceMs`; then every response says
   * `Connection: close`, idle connections end after `idleMs`, and open exchanges get `graceMs`
   * before they are ended with an error. Resolves when nothing is left.
   */
  close(options: DrainOptions = {}): Promise<void> {
    this.#closed ??= this.#shutDown(options);
    return this.#closed;
  }

  /** `close` was called. */
  get draining(): boolean {
    return this.#closed !== null;
  }

  async #shutDown(options: DrainOptions): Promise<void> {
    const { drain } = this.tables.config;
    this.ready = false;
    const announceMs = options.announceMs ?? drain.announceMs;
    if (announceMs > 0) await new Promise((resolve) => setTimeout(resolve, announceMs));
    const graceMs = options.graceMs ?? drain.graceMs;
    const ending = this.wheel.setTimer('the end of a drain', () => this.#endAll(), graceMs);
    const idleMs = options.idleMs ?? drain.idleMs;
    try {
      await this.server.close({ drainMs: graceMs + (graceMs > 0 ? endingMs : 0), idleMs });
    } finally {
      this.wheel.clearTimer(ending);
      this.limitReporter.close();
      this.#endUpstreams();
    }
  }

  #endUpstreams(): void {
    for (const checker of this.#checkers) checker.stop();
    for (const watcher of this.#watchers) watcher.stop();
    if (this.#retireTimer !== null) this.#clock.clearTimer(this.#retireTimer);
    for (const { origins } of this.#retired) for (const origin of origins) origin.destroy();
    for (const upstream of this.tables.upstreams.values()) {
      for (const { origin } of upstream.members) origin.destroy();
    }
  }
}

/**
 * A gateway from a configuration object, not listening yet. Throws ARGUMENT_INVALID that lists every
 * problem of the configuration.
 */
export function createGateway(input: GatewayConfigInput, options: GatewayOptions = {}): Gateway {
  const { config, problems } = checkConfig(input);
  if (config === null) {
    const list = problems.map(({ path, message }) => `${path}: ${message}`).join('; ');
    throw new OnehopError('ARGUMENT_INVALID', `the configuration is invalid: ${list}`, {
      phase: 'config',
    });
  }
  return new Gateway(config, options);
}
