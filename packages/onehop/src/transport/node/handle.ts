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
  /** Where the runtime makes the request: how the write ended before `oncomplete` was set. */
  readonly writeStatus?: number | null;
}

export interface WriteWaiter {
  onWriteComplete(status: number): void;
}

export interface StreamHandle {
  /** Bytes that libuv holds because the kernel would not take them. */
  readonly writeQueueSize: number;
  /**
   * Both return 0 or a negative errno. Up to Node 25 the request is given, and used only if something
   * was left over; from Node 26 on it is null, and what was left over has one that is returned.
   */
  writeBuffer(request: WriteRequest | null, bytes: Uint8Array): number | WriteRequest;
  writeLatin1String(request: WriteRequest | null, text: string): number | WriteRequest;
}

/** The runtime's writes have been seen; see {@link learnWrites}. */
let known = false;
/** The class of the write requests that are to be given; null where they are returned. */
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
export function knowsWrites(): boolean {
  return known;
}

/**
 * Looks over the runtime's shoulder at its next write on this handle: whether it gives a request, and
 * of which class, for that cannot be imported. Removes itself at once.
 */
export function learnWrites(handle: StreamHandle): void {
  const watched = handle as unknown as Record<string, unknown>;
  const names = ['writeBuffer', 'writeLatin1String'];
  for (const name of names) {
    const original = watched[name] as (...args: unknown[]) => unknown;
    watched[name] = function (
      this: unknown,
      request: WriteRequest | null,
      ...rest: unknown[]
    ): unknown {
      for (const each of names) delete watched[each];
      if (request === null) known = true;
      else if (request?.constructor !== Object && typeof request?.oncomplete === 'function') {
        RequestClass = request.constructor as new () => WriteRequest;
        known = true;
      }
      return original.call(this, request, ...rest);
    };
  }
}

/** What the next write is given. {@link claimRequest} if the write was left waiting. */
export function nextRequest(): WriteRequest | null {
  if (spare === null && RequestClass !== null) {
    spare = new RequestClass();
    spare.oncomplete = onComplete;
    spare.chunk = null;
    spare.waiter = null;
  }
  return spare;
}

/** `result`: what a write returned that did not fail and has left something over. */
export function claimRequest(
  result: number | WriteRequest,
  waiter: WriteWaiter,
  chunk: Uint8Array | null,
): void {
  const isReturned = typeof result !== 'number';
  const request = isReturned ? result : spare!;
  request.waiter = waiter;
  request.chunk = chunk;
  if (!isReturned) {
    spare = null;
    return;
  }
  request.oncomplete = onComplete;
  const { writeStatus } = request;
  if (typeof writeStatus === 'number') {
    process.nextTick(() => request.oncomplete(writeStatus));
  }
}

/** After a failed write the runtime may have touched the request: do not use it again. */
export function dropRequest(): void {
  spare = null;
}

/** The handle of an open socket, or null if it does not look the way we know it. */
export function handleOf(socket: NetSocket): StreamHandle | null {
  const handle = (socket as unknown as { _handle?: Partial<StreamHandle> | null })._handle;
  if (handle === null || handle === undefined) return null;
  const isKnown =
    typeof handle.writeQueueSize === 'number' &&
    typeof handle.writeBuffer === 'function' &&
    typeof handle.writeLatin1String === 'function';
  return isKnown ? (handle as StreamHandle) : null;
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
