/**
 * How the HTTP/1.1 parsers are driven. They are pull parsers: the owner of the socket calls `read`
 * in a loop and acts on what it returns, so there is no callback, no allocation and no exception on
 * the data path.
 *
 * ```ts
 * let at = 0;
 * for (;;) {
 *   switch (parser.read(bytes, at, bytes.length)) {
 *     case Read.Head: ...parser.head is complete; at = parser.position; break;
 *     case Read.Body: ...bytes.subarray(parser.bodyStart, parser.bodyEnd); at = parser.position; break;
 *     case Read.End: ...the message is over; at = parser.position; parser.begin(...) for the next
 *     case Read.NeedMore: return;      // everything in [at, length) was taken
 *     case Read.Error: ...parser.errorCode
 *   }
 * }
 * ```
 * A head that arrives in pieces is kept inside the parser (bounded by `headBytesMax`); body bytes
 * are never copied. `Read.Interim` is a 1xx response (not 101): its head is readable, the final
 * head follows. A message without a body gives Head, then End. Trailers are readable at End.
 */
export const Read = {
  NeedMore: 0,
  Head: 1,
  Interim: 2,
  Body: 3,
  End: 4,
  Error: 5,
} as const;
export type Read = (typeof Read)[keyof typeof Read];

export interface MessageParser {
  /** Where in `bytes` the next `read` must start. */
  readonly position: number;
  /** The body bytes of the last `Read.Body`, as a range in the `bytes` that were passed. */
  readonly bodyStart: number;
  readonly bodyEnd: number;
  /** Why the last call returned `Read.Error`: an index into the table of parse errors. */
  readonly errorCode: number;
  read(bytes: Uint8Array, start: number, end: number): Read;
  /** The peer will send nothing more: `End` (close-delimited body), `NeedMore` (idle) or `Error`. */
  finish(): Read;
}
