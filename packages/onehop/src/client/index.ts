/** The door of the client: the callback core. */

export type { BodySource } from './body-pump.ts';
export { Client, type ClientOptions, type ClientRequest } from './client.ts';
export { type Exchange, Stage } from './exchange.ts';
export { createFetch, fetch } from './fetch.ts';
export type { Fetch, FetchInit, OnehopInit } from './fetch-types.ts';
export { ResponseHeaders } from './headers.ts';
export { isIP } from './ip.ts';
export { KeptHead } from './kept-head.ts';
export { Origin } from './origin.ts';
export {
  authorityOf,
  connectionAgeMaxMs,
  connectionsMaxDefault,
  defaultTimeouts,
  type OriginOptions,
} from './origin-options.ts';
export type { BodyInput, HeadersInput, RequestOptions } from './request-options.ts';
export { noFields } from './request-writer.ts';
export { type Resolver, type ResolverOptions, SystemResolver } from './resolver.ts';
export { ClientResponse } from './response.ts';
export { decideRetry, isIdempotent, RetryBudget, type RetryContext } from './retry.ts';
export { type ServerSentEvent, SseParser } from './sse.ts';
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
