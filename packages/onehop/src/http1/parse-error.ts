/**
 * Everything a parser or writer may refuse, by number, so that no exception is made on the data
 * path. A request that fails is answered with the prepared reply of its number; a response that
 * fails becomes 502.
 */
import { type ErrorCode, type LimitName, OnehopError } from '../core/index.ts';
import { reasonOf } from './status.ts';

interface ParseErrorSpec {
  readonly name: string;
  /** Status a server answers a faulty request with; 0 where only a response can have this fault. */
  readonly status: number;
  readonly reason: string;
}

const row = (name: string, status: number, reason: string): ParseErrorSpec => ({
  name,
  status,
  reason,
});

/** Numbers of {@link PARSE_ERRORS}; 0 is success. */
export const ParseError = {
  None: 0,
  // Start lines.
  InvalidMethod: 1,
  MethodTooLong: 2,
  InvalidTarget: 3,
  UriTooLong: 4,
  InvalidRequestLine: 5,
  InvalidVersion: 6,
  UnsupportedVersion: 7,
  InvalidStatusLine: 8,
  InvalidStatus: 9,
  InvalidReason: 10,
  // Lines.
  BareLf: 11,
  BareCr: 12,
  ControlByte: 13,
  WhitespaceBeforeField: 14,
  ObsFold: 15,
  EmptyFieldName: 16,
  InvalidFieldName: 17,
  SpaceBeforeColon: 18,
  MissingColon: 19,
  // Limits.
  HeadTooLarge: 20,
  FieldTooLarge: 21,
  TooManyFields: 22,
  BodyTooLarge: 23,
  ContentLengthTooLarge: 24,
  TooManyInterim: 25,
  TrailersTooLarge: 26,
  TooManyTrailers: 27,
  ChunkExtensionTooLong: 28,
  ChunkExtensionsTooLong: 29,
  // Framing and routing fields.
  InvalidContentLength: 30,
  RepeatedContentLength: 31,
  InvalidTransferEncoding: 32,
  UnsupportedTransferEncoding: 33,
  RepeatedTransferEncoding: 34,
  LengthAndTransferEncoding: 35,
  TransferEncodingIn10: 36,
  MissingHost: 37,
  RepeatedHost: 38,
  InvalidHost: 39,
  InvalidConnection: 40,
  FramingNominated: 41,
  RepeatedExpect: 42,
  UnknownExpectation: 43,
  // Chunked coding.
  InvalidChunkSize: 44,
  ChunkSizeTooLarge: 45,
  InvalidChunkExtension: 46,
  InvalidChunkEnd: 47,
  // Responses.
  UnexpectedSwitch: 48,
  SwitchWithoutUpgrade: 49,
  // Connection.
  UnexpectedBytes: 50,
  ClosedBeforeHead: 51,
  ClosedInHead: 52,
  ClosedInBody: 53,
  // Writers.
  InvalidName: 54,
  InvalidValue: 55,
  ReservedField: 56,
  InvalidFraming: 57,
} as const;
export type ParseError = (typeof ParseError)[keyof typeof ParseError];

export const PARSE_ERRORS: readonly ParseErrorSpec[] = [
  row('None', 0, ''),
  row('InvalidMethod', 400, 'The method is not a token.'),
  row('MethodTooLong', 501, 'The method is longer than any known one.'),
  row('InvalidTarget', 400, 'The request target is malformed or does not fit the method.'),
  row('UriTooLong', 414, 'The request line exceeds requestLineBytesMax.'),
  row('InvalidRequestLine', 400, 'The request line is not method, target and version.'),
  row('InvalidVersion', 400, 'The protocol version is malformed.'),
  row('UnsupportedVersion', 505, 'Only HTTP/1.0 and HTTP/1.1 are spoken here.'),
  row('InvalidStatusLine', 0, 'The status line is malformed.'),
  row('InvalidStatus', 0, 'The status code is not between 100 and 599.'),
  row('InvalidReason', 0, 'The reason phrase contains a control byte.'),
  row('BareLf', 400, 'A line ends with LF alone.'),
  row('BareCr', 400, 'CR is not followed by LF.'),
  row('ControlByte', 400, 'A field value contains a control byte.'),
  row('WhitespaceBeforeField', 400, 'There is whitespace before the first field.'),
  row('ObsFold', 400, 'A field value is folded over several lines.'),
  row('EmptyFieldName', 400, 'A field has no name.'),
  row('InvalidFieldName', 400, 'A field name is not a token.'),
  row('SpaceBeforeColon', 400, 'There is whitespace between a field name and its colon.'),
  row('MissingColon', 400, 'A field line has no colon.'),
  row('HeadTooLarge', 431, 'The head exceeds headBytesMax.'),
  row('FieldTooLarge', 431, 'A field line exceeds headerBytesMax.'),
  row('TooManyFields', 431, 'The head has more than headersCountMax fields.'),
  row('BodyTooLarge', 413, 'The body exceeds bodyBytesMax.'),
  row('ContentLengthTooLarge', 413, 'Content-Length has more than 15 digits.'),
  row('TooManyInterim', 0, 'More than interimResponsesMax interim responses.'),
  row('TrailersTooLarge', 400, 'The trailers exceed trailerBytesMax.'),
  row('TooManyTrailers', 400, 'There are more than trailersCountMax trailers.'),
  row('ChunkExtensionTooLong', 400, 'A chunk extension exceeds chunkExtensionBytesMax.'),
  row('ChunkExtensionsTooLong', 400, 'The chunk extensions exceed chunkExtensionsBytesMax.'),
  row('InvalidContentLength', 400, 'Content-Length is not a number.'),
  row('RepeatedContentLength', 400, 'There are several Content-Length fields.'),
  row('InvalidTransferEncoding', 400, 'Transfer-Encoding is not "chunked".'),
  row('UnsupportedTransferEncoding', 501, 'Only the chunked transfer coding is supported.'),
  row('RepeatedTransferEncoding', 400, 'There are several Transfer-Encoding fields.'),
  row('LengthAndTransferEncoding', 400, 'Content-Length and Transfer-Encoding exclude each other.'),
  row('TransferEncodingIn10', 400, 'HTTP/1.0 has no Transfer-Encoding.'),
  row('MissingHost', 400, 'Host is missing.'),
  row('RepeatedHost', 400, 'There are several Host fields.'),
  row('InvalidHost', 400, 'Host is malformed.'),
  row('InvalidConnection', 400, 'Connection is not a list of tokens.'),
  row('FramingNominated', 400, 'Connection names a framing or routing field.'),
  row('RepeatedExpect', 400, 'There are several Expect fields.'),
  row('UnknownExpectation', 417, 'Only the expectation 100-continue is known.'),
  row('InvalidChunkSize', 400, 'A chunk size is malformed.'),
  row('ChunkSizeTooLarge', 400, 'A chunk size has too many digits or exceeds 2^53 - 1.'),
  row('InvalidChunkExtension', 400, 'A chunk extension is malformed.'),
  row('InvalidChunkEnd', 400, 'Chunk data is not followed by CRLF.'),
  row('UnexpectedSwitch', 0, '101 was not asked for.'),
  row('SwitchWithoutUpgrade', 0, '101 does not name the protocol in Connection and Upgrade.'),
  row('UnexpectedBytes', 400, 'Bytes arrived that belong to no message.'),
  row('ClosedBeforeHead', 400, 'The connection closed before the message.'),
  row('ClosedInHead', 400, 'The connection closed inside the head.'),
  row('ClosedInBody', 400, 'The connection closed inside the body.'),
  row('InvalidName', 400, 'A method, target or field name to be sent is not valid.'),
  row('InvalidValue', 400, 'A field value to be sent contains an illegal character.'),
  row('ReservedField', 400, 'The field is written by the framing alone.'),
  row('InvalidFraming', 500, 'The framing does not fit the message.'),
];

/** What went wrong, in words. */
export function parseErrorReason(code: number): string {
  return PARSE_ERRORS[code]?.reason ?? 'Unknown parse error.';
}

/** The core error code for a fault of a request. */
export function requestErrorCode(code: number): ErrorCode {
  switch (PARSE_ERRORS[code]?.status) {
    case 413:
      return 'REQUEST_TOO_LARGE';
    case 414:
      return 'URI_TOO_LONG';
    case 431:
      return 'HEAD_TOO_LARGE';
    case 501:
      return 'UNSUPPORTED';
    default:
      break;
  }
  if (code >= ParseError.ClosedBeforeHead && code <= ParseError.ClosedInBody) return 'ABORTED';
  return 'REQUEST_INVALID';
}

/** The core error code for a fault of a response. */
export function responseErrorCode(code: number): ErrorCode {
  if (code >= ParseError.HeadTooLarge && code <= ParseError.ChunkExtensionsTooLong) {
    return 'RESPONSE_TOO_LARGE';
  }
  if (code === ParseError.ClosedBeforeHead) return 'UPSTREAM_CLOSED';
  if (code === ParseError.ClosedInHead || code === ParseError.ClosedInBody) {
    return 'UPSTREAM_TRUNCATED';
  }
  return 'RESPONSE_INVALID';
}

/** The limit that a message exceeded, in either direction. */
const LIMITS: Partial<Record<number, LimitName>> = {
  [ParseError.UriTooLong]: 'requestLineBytesMax',
  [ParseError.HeadTooLarge]: 'headBytesMax',
  [ParseError.FieldTooLarge]: 'headerBytesMax',
  [ParseError.TooManyFields]: 'headersCountMax',
  [ParseError.BodyTooLarge]: 'bodyBytesMax',
  [ParseError.ContentLengthTooLarge]: 'bodyBytesMax',
  [ParseError.TrailersTooLarge]: 'trailerBytesMax',
  [ParseError.TooManyTrailers]: 'trailersCountMax',
  [ParseError.ChunkExtensionTooLong]: 'chunkExtensionBytesMax',
  [ParseError.ChunkExtensionsTooLong]: 'chunkExtensionsBytesMax',
  [ParseError.ChunkSizeTooLarge]: 'chunkSizeDigitsMax',
};

/** The limit that a request exceeded; undefined for any other fault. */
export const requestErrorLimit = (code: number): LimitName | undefined => LIMITS[code];

/** The limit that a response exceeded; undefined for any other fault, and where it is fixed. */
export function responseErrorLimit(code: number): LimitName | undefined {
  switch (code) {
    // A field may be as long as half a head.
    case ParseError.FieldTooLarge:
    case ParseError.HeadTooLarge:
      return 'responseHeadBytesMax';
    case ParseError.TooManyFields:
      return 'responseHeadersCountMax';
    case ParseError.TooManyInterim:
      return 'interimResponsesMax';
    default:
      return undefined;
  }
}

/** The error a client reports for a faulty response. Allocates: not for the data path. */
export function responseError(code: number, upstream?: string): OnehopError {
  return new OnehopError(
    responseErrorCode(code),
    parseErrorReason(code),
    upstream === undefined ? { phase: 'head' } : { phase: 'head', upstream },
  );
}

const prepared = new Map<number, Buffer>();

/**
 * A whole small response that closes the connection, prepared once per status. The text is fixed:
 * nothing of the faulty request is ever echoed. The same bytes are returned each time; do not write
 * to them.
 */
export function errorReplyOfStatus(status: number): Uint8Array {
  let bytes = prepared.get(status);
  if (bytes === undefined) {
    const phrase = reasonOf(status) || 'Error';
    const body = `${phrase}\n`;
    // Too many connections: a matter of moments, and clients that know the field wait for them.
    const busy = status === 503 || status === 429;
    const wait = busy ? 'retry-after: 1\r\nretry-after-ms: 1000\r\n' : '';
    bytes = Buffer.from(
      `HTTP/1.1 ${status} ${phrase}\r\ncontent-type: text/plain\r\n` +
        `content-length: ${body.length}\r\n${wait}connection: close\r\n\r\n${body}`,
      'latin1',
    );
    prepared.set(status, bytes);
  }
  return bytes;
}

/** The prepared reply to a request that failed with `code`. */
export function errorReply(code: number): Uint8Array {
  return errorReplyOfStatus(errorReplyStatus(code));
}

/** Status of {@link errorReply}. */
export function errorReplyStatus(code: number): number {
  return PARSE_ERRORS[code]?.status || 400;
}
