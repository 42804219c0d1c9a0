/** The part of Bun's socket API that the adapter uses; @types/bun would redefine Node's types. */

export interface BunRawSocket {
  data: unknown;
  readonly remoteAddress: string;
  readonly alpnProtocol: string | false | null;
  /** Bytes taken, which may be fewer than given; -1 once closed. Buffers nothing itself. */
  write(bytes: Uint8Array, offset: number, length: number): number;
  write(text: string, encoding: 'latin1'): number;
  /** Half-closes. (`end` would close both directions.) */
  shutdown(): void;
  /** Closes with RST. */
  terminate(): void;
  /** Closes both directions; bytes the kernel has are still sent. */
  end(): void;
  close(): void;
  pause(): void;
  resume(): void;
  ref(): void;
  unref(): void;
  setNoDelay(on: boolean): boolean;
  /** The same connection with TLS, whose events come to `socket`; the plain side sees ciphertext. */
  upgradeTLS(options: {
    data: unknown;
    tls: BunTlsOptions;
    socket: BunSocketHandler;
  }): [plain: BunRawSocket, secure: BunRawSocket];
  /** Empty or null before the handshake is done. */
  getPeerCertificate(): object | null;
}

export interface BunSocketHandler {
  open(socket: BunRawSocket): void;
  data(socket: BunRawSocket, bytes: Uint8Array): void;
  drain(socket: BunRawSocket): void;
  end(socket: BunRawSocket): void;
  close(socket: BunRawSocket, error?: unknown): void;
  error(socket: BunRawSocket, error: unknown): void;
  connectError(socket: BunRawSocket, error: unknown): void;
  handshake(socket: BunRawSocket, success: boolean, error: unknown): void;
  binaryType: 'buffer';
}

export interface BunTlsOptions {
  serverName?: string;
  ca?: string | string[];
  cert?: string;
  key?: string;
  rejectUnauthorized: boolean;
  /** In wire format: each name after its length in one byte. */
  ALPNProtocols?: Uint8Array;
}

export interface BunConnectOptions {
  hostname?: string;
  port?: number;
  unix?: string;
  tls?: BunTlsOptions;
  allowHalfOpen: boolean;
  data: unknown;
  socket: BunSocketHandler;
}

export interface BunListenOptions {
  hostname?: string;
  port?: number;
  unix?: string;
  /** A bound socket. */
  fd?: number;
  backlog?: number;
  exclusive?: boolean;
  reusePort?: boolean;
  allowHalfOpen: boolean;
  data: unknown;
  socket: BunSocketHandler;
}

export interface BunListener {
  readonly hostname: string;
  readonly port: number;
  readonly fd: number;
  stop(closeSockets?: boolean): void;
  ref(): void;
  unref(): void;
}

export interface BunRuntime {
  connect(options: BunConnectOptions): Promise<BunRawSocket>;
  listen(options: BunListenOptions): BunListener;
}
