/** The door of the client: the callback core. */
export { type Exchange, Stage } from './exchange.ts';
export {
  authorityOf,
  connectionAgeMaxMs,
  connectionsMaxDefault,
  defaultTimeouts,
  Origin,
  type OriginOptions,
} from './origin.ts';
export { noFields } from './request-writer.ts';
export { type Resolver, type ResolverOptions, SystemResolver } from './resolver.ts';
export { decideRetry, isIdempotent, RetryBudget, type RetryContext } from './retry.ts';
export { Tunnel, type TunnelHandler } from './tunnel.ts';
export type {
  DispatchRequest,
  ExchangeHandler,
  OriginAddress,
  OriginStats,
  ProxyAddress,
  RequestBody,
  StreamedBody,
  Timeouts,
} from './types.ts';
