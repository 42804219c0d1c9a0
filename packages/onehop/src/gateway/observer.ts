/**
 * What the gateway tells about itself. Telemetry implements it; the default hears nothing. Called on
 * the data path: implementations count integers and format nothing.
 */
import { type OnehopError, reportFault } from '../core/index.ts';
import type { Refusal } from '../server/index.ts';
import type { EventStream, GatewayExchange } from './exchange.ts';
import type { LimitReport } from './limits/index.ts';
import type { Member, Upstream } from './upstream.ts';

export interface GatewayObserver {
  /** Exactly once per exchange, last; its instants and counts are final. */
  onFinish(exchange: GatewayExchange): void;
  /** An attempt failed with `error` and another follows. */
  onRetry(exchange: GatewayExchange, error: OnehopError): void;
  /** Bytes of an event stream went downstream at `nowMs`; its `lastByteMs` is still the time before. */
  onStreamRead(exchange: GatewayExchange, stream: EventStream, nowMs: number): void;
  /** Too many failures in a row: the member takes no exchanges for a while. */
  onEjection(upstream: Upstream, member: Member): void;
  /** Active probes changed their verdict. */
  onHealth(upstream: Upstream, member: Member, healthy: boolean): void;
  /** The caller left while `exchange` was at the upstream, whose connection is closed now. */
  onCancel?(exchange: GatewayExchange, nowMs: number): void;
  /** A connection to a target of the upstream was opened in `durationMs`. */
  onConnect?(upstream: string, durationMs: number): void;
  /** The server half answered a request itself: malformed, too large or late in its head. */
  onRefused?(refusal: Refusal): void;
  /**
   * A limit turned something away: the first time at once, then at most every ten seconds for each
   * limit, with how often it was since.
   */
  onLimit?(report: LimitReport): void;
  /**
   * A bug: something threw where nothing may, a method of this observer for one. `where` says in
   * words what it was; the same for all of a kind.
   */
  onInternalError(error: unknown, where: string): void;
}

export const silentObserver: GatewayObserver = {
  onFinish() {},
  onRetry() {},
  onStreamRead() {},
  onEjection() {},
  onHealth() {},
  onInternalError: reportFault,
};

/**
 * The one place that calls an observer: whatever it throws, or rejects with, is reported and changes
 * nothing else. An exchange must not hang because it could not be counted.
 */
export class GuardedObserver implements Required<GatewayObserver> {
  readonly #inner: GatewayObserver;

  constructor(inner: GatewayObserver) {
    this.#inner = inner;
  }

  onFinish(exchange: GatewayExchange): void {
    try {
      this.#after('onFinish', this.#inner.onFinish(exchange));
    } catch (error) {
      this.#threw('onFinish', error);
    }
  }

  onRetry(exchange: GatewayExchange, cause: OnehopError): void {
    try {
      this.#after('onRetry', this.#inner.onRetry(exchange, cause));
    } catch (error) {
      this.#threw('onRetry', error);
    }
  }

  onStreamRead(exchange: GatewayExchange, stream: EventStream, nowMs: number): void {
    try {
      this.#after('onStreamRead', this.#inner.onStreamRead(exchange, stream, nowMs));
    } catch (error) {
      this.#threw('onStreamRead', error);
    }
  }

  onEjection(upstream: Upstream, member: Member): void {
    try {
      this.#after('onEjection', this.#inner.onEjection(upstream, member));
    } catch (error) {
      this.#threw('onEjection', error);
    }
  }

  onHealth(upstream: Upstream, member: Member, healthy: boolean): void {
    try {
      this.#after('onHealth', this.#inner.onHealth(upstream, member, healthy));
    } catch (error) {
      this.#threw('onHealth', error);
    }
  }

  onCancel(exchange: GatewayExchange, nowMs: number): void {
    try {
      this.#after('onCancel', this.#inner.onCancel?.(exchange, nowMs));
    } catch (error) {
      this.#threw('onCancel', error);
    }
  }

  onConnect(upstream: string, durationMs: number): void {
    try {
      this.#after('onConnect', this.#inner.onConnect?.(upstream, durationMs));
    } catch (error) {
      this.#threw('onConnect', error);
    }
  }

  onRefused(refusal: Refusal): void {
    try {
      this.#after('onRefused', this.#inner.onRefused?.(refusal));
    } catch (error) {
      this.#threw('onRefused', error);
    }
  }

  onLimit(report: LimitReport): void {
    try {
      this.#after('onLimit', this.#inner.onLimit?.(report));
    } catch (error) {
      this.#threw('onLimit', error);
    }
  }

  onInternalError(error: unknown, where: string): void {
    try {
      this.#after('onInternalError', this.#inner.onInternalError(error, where));
    } catch (thrown) {
      reportFault(error, where);
      reportFault(thrown, 'onInternalError of the observer');
    }
  }

  #threw(method: string, error: unknown): void {
    this.onInternalError(error, `${method} of the observer`);
  }

  /** A method may be asynchronous although nobody waits for it. */
  #after(method: string, result: unknown): void {
    if (result === undefined) return;
    if (typeof (result as Promise<unknown> | null)?.then !== 'function') return;
    (result as Promise<unknown>).then(undefined, (error: unknown) => {
      if (method === 'onInternalError') reportFault(error, 'onInternalError of the observer');
      else this.#threw(method, error);
    });
  }
}
