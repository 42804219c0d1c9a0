/**
 * What the gateway tells about itself. Telemetry implements it; the default hears nothing. Called on
 * the data path: implementations count integers and format nothing.
 */
import type { OnehopError } from '../core/index.ts';
import type { Refusal } from '../server/index.ts';
import type { EventStream, GatewayExchange } from './exchange.ts';
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
  /** A bug: something threw where nothing may. */
  onInternalError(error: unknown): void;
}

export const silentObserver: GatewayObserver = {
  onFinish() {},
  onRetry() {},
  onStreamRead() {},
  onEjection() {},
  onHealth() {},
  onInternalError(error) {
    console.error('onehop: internal error:', error);
  },
};
