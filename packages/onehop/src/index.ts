/**
 * The public face of onehop: the client and what its errors mean. The gateway as a library is
 * `onehop/gateway`, so that programs which only want the client do not load its schema.
 */
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
