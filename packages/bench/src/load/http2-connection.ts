/**
 * One HTTP/2 connection on node:http2. It is open when the server's SETTINGS are there: a server
 * that speaks something else never sends them, and before them its limits are unknown.
 */
import {
  type ClientHttp2Session,
  constants,
  connect as openSession,
  type SessionOptions,
} from 'node:http2';
import { connect as openTcp, type Socket } from 'node:net';
import { type ConnectionOptions, connect as openTls, type TLSSocket } from 'node:tls';
import type { ConnectOptions } from 'onehop/transport';
import { errorText } from './errors.ts';
import type { LoadOrigin } from './request.ts';

/** What a server allows that says nothing (RFC 9113 section 6.5.2: no limit). */
export const streamsUnlimited = 2 ** 32 - 1;
/** As much as h2load's default and more than any answer of a study: flow control must not limit. */
const windowBytes = 1 << 30;

const sessionOptions: SessionOptions = {
  settings: { enablePush: false, initialWindowSize: windowBytes },
  // In MB. The default of 10 refuses streams when many of them are open.
  maxSessionMemory: 1_000,
};

const notHttp2 = 'the server does not speak HTTP/2';

/** The name of an error code on the wire: `REFUSED_STREAM`. */
export function codeName(code: number): string {
  for (const [name, value] of Object.entries(constants)) {
    if (
      value === code &&
      /^NGHTTP2_(?!ERR_|FLAG_|SETTINGS_|HCAT_|NV_|STREAM_|SESSION_)/.test(name)
    ) {
      return name.slice('NGHTTP2_'.length);
    }
  }
  return `code ${code}`;
}

export interface Http2ConnectionEvents {
  /** SETTINGS came. */
  opened(connection: Http2Connection, streamsAllowed: number): void;
  /** It will never open. */
  openFailed(connection: Http2Connection, text: string): void;
  /** No stream can be begun on it any more; those above `lastStreamId` were not looked at. */
  goaway(connection: Http2Connection): void;
  /** Gone, with all of its streams. */
  closed(connection: Http2Connection): void;
}

export class Http2Connection {
  session: ClientHttp2Session | null = null;
  open = false;
  /** Of a GOAWAY: the last stream that was or may be processed; null without one. */
  lastStreamId: number | null = null;
  /** Why the connection ended, when it is known. */
  endText: string | null = null;
  private settled = false;
  private readonly socket: Socket;
  private readonly events: Http2ConnectionEvents;
  private readonly authority: string;

  constructor(origin: LoadOrigin, events: Http2ConnectionEvents) {
    this.events = events;
    this.authority = origin.key;
    const { connect } = origin;
    this.socket = connect.tls === undefined ? this.openPlain(connect) : this.openSecure(connect);
    this.socket.setNoDelay(true);
    this.socket.on('error', (error: NodeJS.ErrnoException) =>
      this.failed(this.session === null ? socketText(error) : notHttp2),
    );
    this.socket.on('close', () => this.failed(this.session === null ? null : notHttp2));
  }

  /** Whether a stream can be begun. */
  get usable(): boolean {
    const { session } = this;
    return (
      this.open &&
      this.lastStreamId === null &&
      session !== null &&
      !session.closed &&
      !session.destroyed
    );
  }

  destroy(): void {
    this.settled = true;
    if (this.session === null) this.socket.destroy();
    else this.session.destroy();
  }

  private openPlain({ host, port, path }: ConnectOptions): Socket {
    const socket = openTcp(path === undefined ? { host, port: port! } : { path });
    socket.on('connect', () => this.begin());
    return socket;
  }

  private openSecure({ host, port, path, tls }: ConnectOptions): Socket {
    const { serverName, rejectUnauthorized, alpnProtocols, ca, cert, key } = tls!;
    const options: ConnectionOptions = path === undefined ? { host, port: port! } : { path };
    Object.assign(options, { rejectUnauthorized, ALPNProtocols: alpnProtocols });
    if (serverName !== undefined) options.servername = serverName;
    if (ca !== undefined) options.ca = ca;
    if (cert !== undefined) options.cert = cert;
    if (key !== undefined) options.key = key;
    const socket: TLSSocket = openTls(options);
    socket.on('secureConnect', () => {
      if (socket.alpnProtocol === 'h2') this.begin();
      else this.failed(`${notHttp2} (ALPN: ${socket.alpnProtocol || 'none'})`);
    });
    return socket;
  }

  /** The transport is there: speak HTTP/2 on it. */
  private begin(): void {
    if (this.settled) return;
    const { socket } = this;
    const session = openSession(this.authority, {
      ...sessionOptions,
      createConnection: () => socket,
    });
    this.session = session;
    // The window of the connection is apart from that of its streams; Bun has no call for it.
    session.on('connect', () => session.setLocalWindowSize?.(windowBytes));
    session.once('remoteSettings', (settings) => {
      if (this.settled) return;
      this.settled = true;
      this.open = true;
      this.events.opened(this, settings.maxConcurrentStreams ?? streamsUnlimited);
    });
    session.on('goaway', (code: number, lastStreamId: number) => {
      if (code !== constants.NGHTTP2_NO_ERROR) {
        this.endText ??= `connection ended by GOAWAY: ${codeName(code)}`;
      }
      // A server may say it twice, first with the highest number there is (RFC 9113 section 6.8).
      const first = this.lastStreamId === null;
      this.lastStreamId = lastStreamId;
      if (first) this.events.goaway(this);
    });
    session.on('error', (error: NodeJS.ErrnoException) => {
      this.endText ??= sessionText(error);
      this.failed(notHttp2);
    });
    session.on('close', () => {
      this.failed(notHttp2);
      this.events.closed(this);
    });
  }

  /** Before it was open; later ends are told by the streams. */
  private failed(text: string | null): void {
    if (this.settled) return;
    this.destroy();
    this.events.openFailed(this, text ?? errorText('CONNECT_FAILED'));
  }
}

/** Of an error before HTTP/2 began. */
function socketText({ code = '', syscall }: NodeJS.ErrnoException): string {
  if (code === 'ECONNREFUSED' || code === 'ENOENT') return errorText('CONNECT_REFUSED');
  // TLS says so when the server knows none of the protocols that ALPN offers (RFC 7301 section 3.2).
  if (/NO_APPLICATION_PROTOCOL/.test(code)) return `${notHttp2} (ALPN was refused)`;
  if (syscall === 'connect') return errorText('CONNECT_FAILED');
  return errorText(/^E[A-Z]+$/.test(code) ? 'CONNECT_FAILED' : 'TLS_FAILED');
}

/** Of an error of the open connection. */
export function sessionText({ code = '' }: NodeJS.ErrnoException): string {
  if (code === 'ECONNRESET' || code === 'EPIPE') return errorText('UPSTREAM_RESET');
  return code === 'ERR_HTTP2_ERROR' ? errorText('RESPONSE_INVALID') : errorText('UPSTREAM_CLOSED');
}
