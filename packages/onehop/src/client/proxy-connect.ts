/** The way through an HTTP proxy to an https origin: CONNECT, then TLS on the same connection. */
import { OnehopError } from '../core/index.ts';
import { parseErrorReason, Read, ResponseParser } from '../http1/index.ts';
import { type Socket, WriteStatus } from '../transport/index.ts';
import type { Origin } from './origin.ts';
import { connectHead } from './request-writer.ts';

/**
 * Asks the proxy for a connection to the origin (RFC 9110 section 9.3.6) on a socket that has just
 * opened. The connect deadline of the dial covers it, as it covers the TLS handshake behind it.
 */
export class ProxyConnect {
  readonly socket: Socket<unknown>;
  readonly #parser: ResponseParser;
  #isSecuring = false;

  constructor(origin: Origin, socket: Socket<unknown>) {
    this.socket = socket;
    this.#parser = new ResponseParser(origin.parserLimits);
    this.#parser.begin(false, true);
  }

  /** Sends CONNECT; null, or why that cannot be. */
  start(origin: Origin): OnehopError | null {
    const head = connectHead(origin);
    if (typeof head !== 'string') return head;
    if (this.socket.writeLatin1(head) !== WriteStatus.Closed) return null;
    return refused('the proxy closed the connection');
  }

  /** Bytes of the proxy: null while all is well, and the error once it is not. */
  onData(bytes: Uint8Array): OnehopError | null {
    if (this.#isSecuring) return refused('the proxy went on in plain text');
    const parser = this.#parser;
    let at = 0;
    for (;;) {
      const what = parser.read(bytes, at, bytes.length);
      at = parser.position;
      if (what === Read.NeedMore) return null;
      if (what === Read.Interim) continue;
      if (what !== Read.Head) {
        return refused(`the proxy's answer is not HTTP: ${parseErrorReason(parser.errorCode)}`);
      }
      const { status } = parser.head;
      if (status < 200 || status > 299) {
        return refused(`the proxy answered CONNECT with ${status}`, status);
      }
      // In TLS the client speaks first: whatever this is, it is not from the origin.
      if (at < bytes.length) return refused('the proxy sent bytes behind its answer');
      this.#isSecuring = true;
      this.socket.startTls();
      return null;
    }
  }
}

function refused(message: string, status = 0): OnehopError {
  // 407 wants credentials and 403 says no: another attempt would hear the same.
  const passes = status === 408 || status === 429;
  const code = status >= 400 && status < 500 && !passes ? 'PROXY_REFUSED' : 'CONNECT_FAILED';
  return new OnehopError(code, message, { phase: 'connect' });
}
