/**
 * The stream handle under a `net.Socket`, as far as we use it. A write through `socket.write` walks
 * the whole Writable machinery (state, tick objects, callbacks); a write on the handle is the system
 * call and little else. These members are not documented, so everything here is probed before use,
 * and whatever is missing sends the socket down the documented path.
 */
import type { Socket as NetSocket, Server } from 'node:net';

/** Carries one write that the kernel did not take at once. */
export interface WriteRequest {
  oncomplete: (this: WriteRequest, status: number) => void;
  /** Keeps the bytes alive: the kernel still reads them. */
  chunk: Uint8Array | null;
  /** The socket that waits for this write. */
  waiter: WriteWaiter | null;
}

export interface WriteWaiter {
  onWriteComplete(status: number): void;
}

export interface StreamHandle {
  /** Bytes that libuv holds because the kernel would not take them. */
  readonly writeQueueSize: number;
  /** Both return 0 or a negative errno; the request is used only if something was left over. */
  writeBuffer(request: WriteRequest, bytes: Uint8Array): number;
  writeLatin1String(request: WriteRequest, text: string): number;
}

/** The class of the runtime's write requests; null until {@link learnRequestClass} has seen one. */
let RequestClass: (new () => WriteRequest) | null = null;
/** A request object that no write has claimed: most writes finish at once and leave it unused. */
let spare: WriteRequest | null = null;

function onComplete(this: WriteRequest, status: number): void {
  const { waiter } = this;
  this.chunk = null;
  this.waiter = null;
  waiter?.onWriteComplete(status);
}

/** Whether writes can go straight to handles yet. */
export function knowsRequestClass(): boolean {
  return RequestClass !== null;
}

/**
 * Looks over the runtime's shoulder at its next write on this handle: the class of the request
 * object cannot be imported. Removes itself at once.
 */
export function learnRequestClass(handle: StreamHandle): void {
  const watched = handle as unknown as Record<string, unknown>;
  const names = ['writeBuffer', 'writeLatin1String'];
  for (const name of names) {
    const original = watched[name] as (...args: unknown[]) => unknown;
    watched[name] = function (this: unknown, request: WriteRequest, ...rest: unknown[]): unknown {
      for (const each of names) delete watched[each];
      const made = request.constructor as new () => WriteRequest;
      if ((made as unknown) !== Object && typeof request.oncomplete === 'function') {
        RequestClass = made;
      }
      return original.call(this, request, ...rest);
    };
  }
}

/** The request for the next write. {@link claimRequest} it if the write was left waiting. */
export function nextRequest(): WriteRequest {
  if (spare === null) {
    spare = new RequestClass!();
    spare.oncomplete = onComplete;
    spare.chunk = null;
    spare.waiter = null;
  }
  return spare;
}

export function claimRequest(waiter: WriteWaiter, chunk: Uint8Array | null): void {
  const request = spare!;
  spare = null;
  request.waiter = waiter;
  request.chunk = chunk;
}

/** After a failed write the runtime may have touched the request: do not use it again. */
export function dropRequest(): void {
  spare = null;
}

/** The handle of an open socket, or null if it does not look the way we know it. */
export function handleOf(socket: NetSocket): StreamHandle | null {
  const handle = (socket as unknown as { _handle?: Partial<StreamHandle> | null })._handle;
  if (handle === null || handle === undefined) return null;
  const known =
    typeof handle.writeQueueSize === 'number' &&
    typeof handle.writeBuffer === 'function' &&
    typeof handle.writeLatin1String === 'function';
  return known ? (handle as StreamHandle) : null;
}

interface ServerHandle {
  onconnection?: (status: number, client: unknown) => void;
}

/**
 * Takes over the accept callback of a listening server, so that we make the sockets ourselves: only
 * then can they read into our buffer (`onread`), which `net.Server` has no option for. False if the
 * server does not look the way we know it.
 */
export function takeAccepts(server: Server, accept: (client: unknown) => void): boolean {
  const handle = (server as unknown as { _handle?: ServerHandle | null })._handle;
  if (typeof handle?.onconnection !== 'function') return false;
  const original = handle.onconnection;
  handle.onconnection = function (this: unknown, status: number, client: unknown): void {
    // Errors and dropped connections are the runtime's to report.
    if (status !== 0 || client === undefined) original.call(this, status, client);
    else accept(client);
  };
  return true;
}
