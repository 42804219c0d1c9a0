/**
 * Disagreements with node:http that are meant to be. A difference counts as explained only when the
 * messages both sides accept are equal and one side stops earlier for a reason listed here.
 */
import { METHODS } from 'node:http';
import type { Kind, Transcript } from '../corpus/transcript.ts';
import type { NodeRun, Seen } from './node-differential.ts';

/** Refused here, accepted by node:http: error of ours, and why that is right. */
const STRICTER: Readonly<Record<string, string>> = {
  InvalidTarget:
    'llhttp does not check the target against RFC 3986, nor its form against the method',
  InvalidHost: 'node:http takes any Host value (RFC 9112 section 3.2 asks for 400)',
  RepeatedHost: 'node:http keeps the first of several Host fields (section 3.2 asks for 400)',
  MissingHost: 'node:http answers 400 by itself and reads on; CONNECT is not checked',
  InvalidVersion: 'llhttp is lenient about the version of methods it does not expect',
  UnsupportedVersion: 'llhttp parses HTTP/2.0 in text form',
  InvalidRequestLine: 'llhttp takes a request line without version for HTTP/0.9',
  InvalidTransferEncoding:
    'llhttp takes empty and unknown codings, in responses as bodies that end with the connection',
  UnsupportedTransferEncoding:
    'node:http hands on codings it cannot undo; RFC 9112 6.1 asks for 501',
  RepeatedTransferEncoding: 'llhttp joins several Transfer-Encoding fields',
  TransferEncodingIn10:
    'llhttp honours chunked in HTTP/1.0; RFC 9112 6.1 calls that faulty framing',
  LengthAndTransferEncoding:
    'llhttp overlooks an empty or ignored Transfer-Encoding beside a length',
  InvalidContentLength: 'llhttp ignores the length where no body follows',
  RepeatedContentLength: 'llhttp ignores the length where no body follows',
  InvalidConnection: 'llhttp does not check that Connection is a list of tokens',
  FramingNominated: 'node:http lets Connection name framing fields (CVE-2026-26365)',
  RepeatedExpect: 'node:http joins several Expect fields',
  UnknownExpectation: 'node:http reads on after answering 417',
  InvalidChunkExtension: 'llhttp accepts an extension with an empty value',
  BareLf: 'llhttp skips LF before a request line and takes it as the end of an HTTP/0.9 request',
  BareCr: 'llhttp skips CR before a start line and in a reason phrase',
  ControlByte: 'llhttp accepts some controls in ignored places',
  ChunkSizeTooLarge: 'llhttp allows any number of leading zeros in a chunk size',
  InvalidStatus: 'llhttp accepts status codes beyond 100-599',
  InvalidStatusLine: 'llhttp takes a missing space behind the status and empty lines before it',
  InvalidReason: 'llhttp does not check the reason phrase',
  UnexpectedSwitch: '101 that nobody offered; node:http waits for an upgrade listener',
};

/** Start-line errors that llhttp, which knows its methods, reports earlier or differently. */
const usesOddMethod = (message: Seen): boolean => !METHODS.includes(message.line.split(' ')[0]!);

const has = (message: Seen, name: string): boolean =>
  message.fields.some((field, i) => i % 2 === 0 && field.toLowerCase() === name);

function samePrefix(ours: Seen[], theirs: Seen[]): boolean {
  const common = Math.min(ours.length, theirs.length);
  return JSON.stringify(ours.slice(0, common)) === JSON.stringify(theirs.slice(0, common));
}

/** Why node:http stops before `next`, which our parser accepts; '' when that is not known. */
function looser(
  kind: Kind,
  text: string,
  next: Seen,
  before: Seen | undefined,
  code: string,
): string {
  const lengthOrCoding = code.endsWith('CONTENT_LENGTH') || code.endsWith('TRANSFER_ENCODING');
  if (kind === 'request') {
    if (code === 'HPE_INVALID_METHOD' && usesOddMethod(next)) {
      return 'llhttp knows a fixed list of methods, here any token is one (RFC 9110 section 9.1)';
    }
    if (code === '' && has(next, 'upgrade') && /\r\n0\r\ncontent-length:/i.test(text)) {
      return 'llhttp stops without a word at a framing field in the trailers of a request that offers an upgrade; here it is dropped';
    }
    if (before !== undefined && has(before, 'upgrade') && has(before, 'connection')) {
      return 'llhttp stops behind a request that offers an upgrade; here it is a request like any';
    }
  } else {
    const isInterim = next.line.startsWith('1');
    if (lengthOrCoding && isInterim) {
      return 'framing fields of 1xx are ignored here (RFC 9112 section 6.3), llhttp checks them';
    }
    if (code === 'HPE_CLOSED_CONNECTION' && before?.line.startsWith('1') === true) {
      return 'Connection: close in 1xx: the final response still follows; llhttp stops';
    }
  }
  if (lengthOrCoding && has(next, 'transfer-encoding')) {
    return 'framing fields in trailers are dropped here (RFC 9110 6.5.1), llhttp refuses them';
  }
  if (code === 'HPE_INVALID_CONTENT_LENGTH' && /content-length:[^\r]*\t[ \t]*\r/i.test(text)) {
    return 'HTAB is whitespace round a value (RFC 9112 section 5); llhttp refuses it behind a length';
  }
  return '';
}

/** The reason for a difference, or '' when there is none. */
export function explain(
  kind: Kind,
  text: string,
  ours: Transcript,
  seen: Seen[],
  theirs: NodeRun,
): string {
  if (theirs.code === 'CONNECT' && kind === 'request') {
    // node:http hands over the connection at the head of CONNECT, so a body is never seen.
    const at = seen.findIndex((message) => message.line.startsWith('CONNECT '));
    const until = at < 0 ? seen.length : at;
    if (samePrefix(seen.slice(0, until), theirs.messages)) {
      return 'node:http hands the connection over at CONNECT';
    }
  }
  if (kind === 'response' && /\r\ntransfer-encoding:[ \t]*chunked *\t[ \t]*\r/i.test(text)) {
    return 'HTAB is whitespace round a value (RFC 9112 section 5); llhttp takes `chunked` with one behind it for an unknown coding and reads to the end of the connection';
  }
  if (!samePrefix(seen, theirs.messages)) return '';
  if (theirs.messages.length > seen.length && ours.finish === 'closed') {
    return seen.at(-1)?.version === '1.0'
      ? 'keep-alive of HTTP/1.0 is not honoured here (RFC 9112 section 9.3)'
      : '';
  }
  if (theirs.messages.length > seen.length) return STRICTER[ours.error] ?? '';
  const next = seen[theirs.messages.length];
  if (next === undefined) return '';
  return looser(kind, text, next, seen[theirs.messages.length - 1], theirs.code);
}
