/** The door of the HTTP/1.1 codec: parsers, writers and what they share. No I/O, no timers. */

export {
  CHUNK_END,
  CHUNK_HEAD_BYTES_MAX,
  chunkHead,
  LAST_CHUNK,
  TrailerWriter,
  writeChunkHead,
} from './chunk-writer.ts';
export { Chunk, ChunkedDecoder } from './chunked-decoder.ts';
export { FieldBlock } from './field-block.ts';
export { isFieldValue, isTarget, isToken } from './field-text.ts';
export { type ForeignHello, foreignHello } from './foreign-hello.ts';
export { Connection, HeadWriter, writeInto } from './head-writer.ts';
export {
  equalsLower,
  Framing,
  HeaderTable,
  MessageHead,
  RequestHead,
  ResponseHead,
  TargetForm,
} from './header-table.ts';
export { HopByHopFilter, isNominated } from './hop-by-hop.ts';
export { HOP_BY_HOP } from './hop-by-hop-fields.ts';
export { KNOWN_FIELD_NAMES, KnownField, knownFieldOf, knownFieldOfName } from './known-field.ts';
export { type ParserLimits, requestLimits, responseLimits } from './limits.ts';
export {
  errorReply,
  errorReplyOfStatus,
  errorReplyStatus,
  PARSE_ERRORS,
  ParseError,
  parseErrorReason,
  requestErrorCode,
  requestErrorLimit,
  responseError,
  responseErrorCode,
  responseErrorLimit,
} from './parse-error.ts';
export { PreparedHead } from './prepared-head.ts';
export { METHOD_BYTES_MAX, RequestParser } from './request-parser.ts';
export { ResponseParser } from './response-parser.ts';
export { reasonOf, statusLine } from './status.ts';
export { FORBIDDEN_IN_TRAILERS } from './trailer-fields.ts';
export * from './types.ts';
