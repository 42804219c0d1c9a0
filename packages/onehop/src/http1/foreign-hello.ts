/**
 * What speaks another protocol to an HTTP/1.1 port, told by its first bytes. Asked only once the parser
 * has refused them, so that nothing is looked for in requests.
 */
import type { RequestHead } from './header-table.ts';
import { ParseError } from './parse-error.ts';

export interface ForeignHello {
  /** What it was, in words. */
  readonly reason: string;
  /** An answer in its own protocol; null where the usual one says most. Do not write to it. */
  readonly reply: Uint8Array | null;
}

const hello = (reason: string, reply: Uint8Array | null = null): ForeignHello => ({
  reason,
  reply,
});

/** HTTP_1_1_REQUIRED (RFC 9113 section 7) in a GOAWAY behind our own preface, an empty SETTINGS. */
const goAway = ((): Uint8Array => {
  const text = 'HTTP/2 is not spoken here';
  return Buffer.concat([
    Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]),
    Buffer.from([0, 0, 8 + text.length, 7, 0, 0, 0, 0, 0]),
    Buffer.from([0, 0, 0, 0, 0, 0, 0, 0x0d]),
    Buffer.from(text, 'latin1'),
  ]);
})();

/*
 * A TLS client is answered like a faulty request: on `HTTP/` in place of a record, clients say that the
 * port is no TLS port ("wrong version number" of OpenSSL, "server gave HTTP response to HTTPS client"
 * of Go). An alert would send people looking for a version or a cipher.
 */
const tls = hello('A TLS client hello on a plain port.');
const http2 = hello('An HTTP/2 connection preface; HTTP/2 is not spoken here.', goAway);
const proxy = hello('A PROXY protocol header; the protocol is not spoken here.');
const ssh = hello('An SSH client on an HTTP port.');
const socks = hello('A SOCKS client on an HTTP port.');

const TLS_HANDSHAKE = 0x16;
const SSH_BYTES = [0x53, 0x53, 0x48, 0x2d];
/** Of the signature of PROXY protocol version 2, CR LF CR LF NUL CR LF QUIT LF: what no text holds. */
const PROXY_2 = '\0\r\nQUIT';

/**
 * Names the protocol of bytes that were refused with `code` as the first request of a connection, if it
 * is known; else null. `line`: method and target as far as they were read (`requestLine`). `bytes` is
 * the read that was refused, from `start` on.
 */
export function foreignHello(
  code: number,
  head: RequestHead,
  line: { readonly method: string; readonly target: string },
  bytes: Uint8Array,
  start: number,
): ForeignHello | null {
  if (code < ParseError.InvalidMethod || code > ParseError.BareCr) return null;
  if (head.bytes.length === 0) {
    // Refused for what stands before a request line.
    const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    return text.subarray(start, start + 16).includes(PROXY_2, 0, 'latin1') ? proxy : null;
  }
  const first = head.bytes[head.methodStart]!;
  // A first byte that no method has is refused with the read that brings it, however short that is.
  if (first === TLS_HANDSHAKE) return tls;
  if (first === 4 || first === 5) return socks;
  if (SSH_BYTES.every((byte, index) => head.bytes[head.methodStart + index] === byte)) return ssh;
  if (line.method === 'PROXY') return proxy;
  const isPreface = line.method === 'PRI' && line.target === '*';
  return isPreface && code === ParseError.UnsupportedVersion ? http2 : null;
}
