/**
 * An address that is bound once and inherited by a worker and by the one that replaces it. A worker
 * that binds the port itself loses what waits in its queue when it ends: connections that are
 * established or in their handshake, reset by the kernel. One socket has one queue, which lives as
 * long as anybody has the socket.
 */
import { createServer } from 'node:net';
import { describeTarget, listenError } from './errors.ts';

export interface HeldAddress {
  readonly host: string;
  readonly port: number;
  /** To be inherited by children; null where the runtime has no way to bind without accepting. */
  readonly descriptor: number | null;
  /** Lets go; who inherited the socket keeps it. */
  release(): void;
}

/** The part of Node's stream handle that is needed; not documented, so probed before use. */
interface BindableHandle {
  readonly fd: number;
  bind(host: string, port: number): number;
  bind6(host: string, port: number, flags: number): number;
  /** Fills `address`; a negative errno if the bind failed after all. */
  getsockname(address: { port?: number }): number;
  /** Done once, however often it is called. */
  close(): void;
}

const serverKind = 1;

/**
 * The runtime holds a handle until it is closed, whoever forgets it, and children have descriptors of
 * their own: neither end takes it from the other.
 */
function bindOnly(probe: object | null, host: string, port: number): BindableHandle | null {
  const Handle = probe?.constructor as (new (kind: number) => BindableHandle) | undefined;
  if (process.versions['bun'] !== undefined || Handle === undefined || Handle.name !== 'TCP') {
    return null;
  }
  const handle = new Handle(serverKind);
  const { bind, bind6, getsockname } = handle;
  const isKnown = [bind, bind6, getsockname].every((each) => typeof each === 'function');
  if (isKnown) {
    const status = host.includes(':') ? handle.bind6(host, port, 0) : handle.bind(host, port);
    // That the address is taken, by somebody who came since it was let go, libuv tells later only; a
    // child would listen at a port of the kernel's choice.
    const bound: { port?: number } = {};
    const isBound = status === 0 && handle.getsockname(bound) === 0 && bound.port === port;
    if (isBound && handle.fd > 2) return handle;
  }
  handle.close();
  return null;
}

/**
 * Makes sure that nobody else has the address, and binds it for children where the runtime can. A
 * port 0 becomes a real one. Rejects with ADDRESS_IN_USE or LISTEN_FAILED.
 */
export function holdAddress(options: { host: string; port: number }): Promise<HeldAddress> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.once('error', (error) => reject(listenError(error, describeTarget(options))));
    server.listen({ ...options, exclusive: true }, () => {
      const { address: host, port } = server.address() as { address: string; port: number };
      const probe = (server as unknown as { _handle: object | null })._handle;
      server.close(() => {
        const handle = bindOnly(probe, host, port);
        resolve({
          host,
          port,
          descriptor: handle?.fd ?? null,
          release: () => handle?.close(),
        });
      });
    });
  });
}
