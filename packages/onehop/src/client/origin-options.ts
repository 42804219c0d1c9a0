/** How to talk to an origin: the options, their defaults, and what is made of them. */
import { DeadlineWheel, limits } from '../core/index.ts';
import type { ParserLimits } from '../http1/index.ts';
import {
  transport as systemTransport,
  type TlsOptions,
  type Transport,
} from '../transport/index.ts';
import { isIP } from './ip.ts';
import { type Resolver, SystemResolver } from './resolver.ts';
import type { OriginAddress, ProxyAddress, Timeouts } from './types.ts';

/** Connections to one origin at once; more requests wait in line, which the pool's counters show. */
export const connectionsMaxDefault: number = limits.connectionsPerOriginMax;
/** A connection is not used again after this long, so that load balancers can move us. */
export const connectionAgeMaxMs = 300_000;

/** While there are connections to a name, it is looked up again this often. */
export const dnsRefreshMsDefault = 30_000;

/** The default deadlines. */
export const defaultTimeouts: Timeouts = {
  connectTimeoutMs: limits.connectTimeoutMs,
  headTimeoutMs: limits.headTimeoutMs,
  firstByteTimeoutMs: limits.firstByteTimeoutMs,
  idleTimeoutMs: limits.idleTimeoutMs,
  totalTimeoutMs: limits.totalTimeoutMs,
  queueTimeoutMs: limits.queueTimeoutMs,
};

/** How to talk to an origin. Everything has a default. */
export interface OriginOptions {
  /** Default {@link connectionsMaxDefault}. */
  connectionsMax?: number | undefined;
  /** Requests waiting for a connection; more fail with QUEUE_FULL. Default 1,024. */
  queueLengthMax?: number | undefined;
  /**
   * Requests under way on one connection at once (RFC 9112 section 9.3.2). Default 1: off. Only
   * idempotent requests with the body in memory share a connection.
   */
  pipelining?: number | undefined;
  /** Idle connections retire after this, ms. Default 4,000; a server's `Keep-Alive` lowers it. */
  connectionIdleMaxMs?: number | undefined;
  /** Default {@link connectionAgeMaxMs}. */
  connectionAgeMaxMs?: number | undefined;
  /**
   * While there are connections, the host name (of the proxy, where there is one) is looked up again
   * this often, ms, as far as the resolver does not answer from its cache: connections to addresses
   * that left it end what they have and take nothing new. Default 30,000; 0: only new connections
   * look it up.
   */
  dnsRefreshMs?: number | undefined;
  timeouts?: Partial<Timeouts> | undefined;
  /** Extra attempts where {@link decideRetry} allows them. Default 1; 0 switches retries off. */
  retries?: number | undefined;
  /** For https; the server name defaults to the host. */
  tls?: TlsOptions | undefined;
  proxy?: ProxyAddress | null | undefined;
  /** Idle connections keep the process alive. Default false. */
  keepProcessAlive?: boolean | undefined;
  /** Bounds of response heads and trailers. */
  parserLimits?: ParserLimits | undefined;
  transport?: Transport | undefined;
  /** Share one per transport clock. */
  wheel?: DeadlineWheel | undefined;
  resolver?: Resolver | undefined;
  /** Told how long opening each connection took: name, TCP, TLS. */
  onConnect?: ((durationMs: number) => void) | undefined;
  /** Runs a callback at the end of the tick, to gather pipelined writes. Default `setImmediate`. */
  defer?: ((callback: () => void) => void) | undefined;
}

let sharedWheel: DeadlineWheel | null = null;
let sharedResolver: Resolver | null = null;

/** The wheel of everything that runs on the runtime's clock. */
export function systemWheel(): DeadlineWheel {
  sharedWheel ??= new DeadlineWheel(systemTransport.clock);
  return sharedWheel;
}

/** The resolver of everything that was not given one. */
export function systemResolver(): Resolver {
  sharedResolver ??= new SystemResolver();
  return sharedResolver;
}

/** Host and port as the Host field shows them: IPv6 in brackets, the default port left out. */
export function authorityOf(address: OriginAddress): string {
  const host = address.host.includes(':') ? `[${address.host}]` : address.host;
  const standard = address.scheme === 'https' ? 443 : 80;
  return address.port === standard ? host : `${host}:${address.port}`;
}

/** What was given, without what was given as undefined. */
export function withoutUndefined(timeouts: Partial<Timeouts> | undefined): Partial<Timeouts> {
  if (timeouts === undefined) return {};
  return Object.fromEntries(
    Object.entries(timeouts).filter(([, value]) => value !== undefined),
  ) as Partial<Timeouts>;
}

/** The certificate is checked against the host name, though an address is dialled. */
export function tlsFor(
  address: OriginAddress,
  options: TlsOptions | undefined,
  tunnels: boolean,
): TlsOptions {
  const tls: TlsOptions = { ...options };
  // The address dialled is the default: behind a proxy that would be the proxy's.
  if (tls.serverName === undefined && (tunnels || !isIP(address.host))) {
    tls.serverName = address.host;
  }
  tls.alpnProtocols ??= ['http/1.1'];
  return tls;
}
