/** The public face of onehop: the client, the gateway, and what their errors mean. */
export {
  type BodyInput,
  Client,
  type ClientOptions,
  type ClientRequest,
  ClientResponse,
  createFetch,
  type Fetch,
  type FetchInit,
  fetch,
  type HeadersInput,
  type OnehopInit,
  type RequestOptions,
  ResponseHeaders,
  type ServerSentEvent,
  type Timeouts,
} from './client/index.ts';
export { ERRORS, type ErrorCode, OnehopError } from './core/index.ts';
export {
  createGateway,
  type DrainOptions,
  type Gateway,
  type GatewayConfigInput,
  type GatewayOptions,
} from './gateway/index.ts';
