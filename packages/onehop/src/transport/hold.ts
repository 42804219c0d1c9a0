/**
 * An address that is bound once and inherited by a worker and by the one that replaces it. A worker
 * that binds the port itself loses what waits in its queue when it ends: connections that are
 * established or in their handshake, reset by the kernel. One socket has one queue, which lives as
 * long as anybody has the socket.
 */
import { closeSync, lstatSync, renameSync, unlinkSync } from 'node:fs';
import { connect, createServer, type ListenOptions, type Server } from 'node:net';
import { describeTarget, listenError } from './errors.ts';

export interface HeldAddress {
  readonly host: string;
  readonly port: number;
  /** Of a Unix socket, else null. */
  readonly path: string | null;
  /** To be inherited by children; null where the runtime has no way to bind without accepting. */
  readonly descriptor: number | null;
  /** Lets go; who inherited the socket keeps it. The path of a Unix socket goes away. */
  release(): void;
}

interface Address {
  host: string;
  port: number;
  path: string | null;
}

interface Bound {
  readonly descriptor: number;
  release(): void;
}

/** The part of Node's stream handles that is needed; not documented, so probed before use. */
interface BindableHandle {
  readonly fd: number;
  /** `port`: of TCP only. */
  bind(hostOrPath: string, port?: number): number;
  bind6?(host: string, port: number, flags: number): number;
  /** Of TCP. Fills `address`; a negative errno if the bind failed after all. */
  getsockname?(address: { port?: number }): number;
  /** Done once, however often it is called. */
  close(): void;
}

const serverKind = 1;

function isTcpBound(handle: BindableHandle, host: string, port: number): boolean {
  const { bind6, getsockname } = handle;
  if (typeof bind6 !== 'function' || typeof getsockname !== 'function') return false;
  const status = host.includes(':') ? bind6.call(handle, host, port, 0) : handle.bind(host, port);
  // That the address is taken, by somebody who came since it was let go, libuv tells later only; a
  // child would listen at a port of the kernel's choice.
  const bound: { port?: number } = {};
  return status === 0 && getsockname.call(handle, bound) === 0 && bound.port === port;
}

/**
 * The runtime holds a handle until it is closed, whoever forgets it, and children have descriptors of
 * their own: neither end takes it from the other.
 */
function bindOnNode(probe: object | null, { host, port, path }: Address): Bound | null {
  const Handle = probe?.constructor as (new (kind: number) => BindableHandle) | undefined;
  if (Handle === undefined || Handle.name !== (path === null ? 'TCP' : 'Pipe')) return null;
  const handle = new Handle(serverKind);
  if (typeof handle.bind === 'function') {
    const isBound = path === null ? isTcpBound(handle, host, port) : handle.bind(path) === 0;
    if (isBound && handle.fd > 2) {
      return { descriptor: handle.fd, release: () => handle.close() };
    }
  }
  handle.close();
  return null;
}

interface BunListen {
  listen(options: object): { readonly fd: number; stop(closeOpen: boolean): void };
}

/** `fcntl`: a copy of a descriptor, above 2, that children do not inherit unless they are given it. */
const duplicate = 1030;

/** Bun cannot bind without listening: a copy of the listening socket outlives the listener. */
async function bindOnBun({ host, port, path }: Address): Promise<Bound | null> {
  if (process.platform !== 'linux') return null;
  try {
    // Not a literal: Node's resolver and types know no such module.
    const name = 'bun:ffi';
    const { dlopen } = await import(name);
    const { symbols } = dlopen('libc.so.6', {
      fcntl: { args: ['i32', 'i32', 'i32'], returns: 'i32' },
    });
    const { Bun } = globalThis as unknown as { Bun: BunListen };
    const where = path === null ? { hostname: host, port } : { unix: path };
    const listener = Bun.listen({ ...where, socket: { open: refuse, data: refuse } });
    const descriptor: number = symbols.fcntl(listener.fd, duplicate, 3);
    // It takes its path with it, by name.
    const aside = `${path}.held`;
    if (path !== null) renameSync(path, aside);
    listener.stop(true);
    if (path !== null) renameSync(aside, path);
    if (descriptor < 0) return null;
    return {
      descriptor,
      release: () => {
        closeSync(descriptor);
        if (path !== null) unlinkSync(path);
      },
    };
  } catch {
    // Another C library, or no foreign functions here.
    return null;
  }
}

const refuse = (socket: { end(): void }): void => socket.end();

/** Listens for a moment. Rejects when anybody else has the address. */
function probe(options: ListenOptions): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.once('error', reject);
    server.listen({ ...options, exclusive: true }, () => resolve(server));
  });
}

/**
 * Makes sure that nobody else has the address, and binds it for children where the runtime can. A
 * port 0 becomes a real one. Rejects with ADDRESS_IN_USE or LISTEN_FAILED.
 */
export async function holdAddress(options: {
  host: string;
  port: number;
  path?: string | null;
}): Promise<HeldAddress> {
  const path = options.path ?? null;
  const where = path === null ? { host: options.host, port: options.port } : { path };
  const server = await probe(where).catch((error) => {
    throw listenError(error, describeTarget(where));
  });
  const { address: host, port } =
    path === null
      ? (server.address() as { address: string; port: number })
      : { address: '', port: 0 };
  const handle = (server as unknown as { _handle: object | null })._handle;
  await new Promise((closed) => server.close(closed));
  const found = { host, port, path };
  const bound =
    process.versions['bun'] === undefined ? bindOnNode(handle, found) : await bindOnBun(found);
  return {
    ...found,
    descriptor: bound?.descriptor ?? null,
    release: () => bound?.release(),
  };
}

/**
 * Removes the path of a Unix socket that nobody listens on any more: whoever made it was killed. A
 * listener that lives keeps it, and what is no socket is never touched.
 */
export async function clearStaleSocket(path: string): Promise<void> {
  try {
    if (!lstatSync(path).isSocket()) return;
    const isStale = await new Promise<boolean>((resolve) => {
      const socket = connect(path);
      socket.once('connect', () => resolve(false));
      socket.once('error', ({ code }: NodeJS.ErrnoException) => resolve(code === 'ECONNREFUSED'));
      socket.once('close', () => resolve(false));
      socket.once('connect', () => socket.destroy());
    });
    if (isStale) unlinkSync(path);
  } catch {
    // Not there, or not ours to look at: listening says what is wrong.
  }
}
