import { limits } from '../core/index.ts';

/** Bounds of a parser; one object is shared by all parsers of a listener or client. */
export interface ParserLimits {
  /** Request line without its CRLF. Requests only. */
  readonly requestLineBytesMax: number;
  /** Whole head with start line and empty line. */
  readonly headBytesMax: number;
  readonly headersCountMax: number;
  /** One field line without its CRLF. */
  readonly headerBytesMax: number;
  /** Trailer section with its empty line. */
  readonly trailerBytesMax: number;
  readonly trailersCountMax: number;
  /** Extensions of one chunk, `;` included. */
  readonly chunkExtensionBytesMax: number;
  /** Extensions of all chunks of a body. */
  readonly chunkExtensionsBytesMax: number;
  /** Digits of a chunk size, leading zeros included. */
  readonly chunkSizeDigitsMax: number;
  /** Body without framing; Infinity for no bound (responses are streamed). */
  readonly bodyBytesMax: number;
  /** 1xx before the final response. Responses only. */
  readonly interimResponsesMax: number;
}

const shared = {
  requestLineBytesMax: limits.requestLineBytesMax,
  headerBytesMax: limits.headerBytesMax,
  trailerBytesMax: limits.trailerBytesMax,
  trailersCountMax: limits.trailersCountMax,
  chunkExtensionBytesMax: limits.chunkExtensionBytesMax,
  chunkExtensionsBytesMax: limits.chunkExtensionsBytesMax,
  chunkSizeDigitsMax: limits.chunkSizeDigitsMax,
  interimResponsesMax: limits.interimResponsesMax,
};

export const requestLimits: ParserLimits = {
  ...shared,
  headBytesMax: limits.headBytesMax,
  headersCountMax: limits.headersCountMax,
  bodyBytesMax: limits.bodyBytesMax,
};

export const responseLimits: ParserLimits = {
  ...shared,
  headBytesMax: limits.responseHeadBytesMax,
  headersCountMax: limits.responseHeadersCountMax,
  bodyBytesMax: Number.POSITIVE_INFINITY,
};
