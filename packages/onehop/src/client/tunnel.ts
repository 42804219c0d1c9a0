import type { OnehopError } from '../core/index.ts';
import type { Socket, WriteStatus } from '../transport/index.ts';
import type { Connection } from './connection.ts';

/** Receives what arrives on a connection after 101 or a successful CONNECT. */
export interface TunnelHandler {
  /** `bytes` are borrowed until the call returns. */
  onData(tunnel: Tunnel, bytes: Uint8Array): void;
  onDrain?(tunnel: Tunnel): void;
  /** The peer sends no more; the tunnel can still be written to. */
  onEnd(tunnel: Tunnel): void;
  /** Exactly once, last. */
  onClose(tunnel: Tunnel, error: OnehopError | null): void;
}

/**
 * A connection that has left HTTP/1.1. Set {@link handler} before the `onUpgrade` call returns. The
 * connection keeps its slot in the pool until it closes.
 */
export class Tunnel {
  handler: TunnelHandler | null = null;
  readonly #socket: Socket<Connection>;

  constructor(socket: Socket<Connection>) {
    this.#socket = socket;
  }

  get queuedBytes(): number {
    return this.#socket.queuedBytes;
  }

  write(bytes: Uint8Array, start = 0, end = bytes.length): WriteStatus {
    return this.#socket.write(bytes, start, end);
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  /** Half-closes after what is queued. */
  end(): void {
    this.#socket.end();
  }

  destroy(): void {
    this.#socket.destroy();
  }
}
