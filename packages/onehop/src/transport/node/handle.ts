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
   * Both return 0 or a negative errno. Older runtimes (Node 20) are given the request, and use it only
   * if something was left over; newer ones (Node 24, 26) are given null, and return the request of what
   * was left over.
   */
  writeBuffer(request: WriteRequest | null, bytes: Uint8Array): number | WriteRequest;
  writeLatin1String(request: WriteRequest | null, text: string): number | WriteRequest;
}

/** The runtime's writes have been seen; see {@link learnWrites}. */
let known = false;
/** The class of the write requests that are to be given; null where they are returned. */
let RequestClass: (new () => WriteRequest) | null = null;

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
 * of which class, for that cannot be imported. Removes itself at once, and leaves what somebody else
 * may have put there. On a handle that is closed before it writes it stays, and goes with it: the next
 * socket then learns. Twice on one handle, each calls the one before it.
 */
export function learnWrites(handle: StreamHandle): void {
  const watched = handle as unknown as Record<string, unknown>;
  const names = ['writeBuffer', 'writeLatin1String'];
  const own = names.map((name) => Object.getOwnPropertyDescriptor(watched, name));
  const restore = (): void => {
    names.forEach((name, index) => {
      const before = own[index];
      if (before === undefined) delete watched[name];
      else Object.defineProperty(watched, name, before);
    });
  };
  for (const name of names) {
    const original = watched[name] as (...args: unknown[]) => unknown;
    watched[name] = function (
      this: unknown,
      request: WriteRequest | null,
      ...rest: unknown[]
    ): unknown {
      restore();
      if (request === null) known = true;
      else if (request?.constructor !== Object && typeof request?.oncomplete === 'function') {
        RequestClass = request.constructor as new () => WriteRequest;
        known = true;
      }
      return original.call(this, request, ...rest);
    };
  }
}

/**
 * What one write is given, and no other: null where the runtime makes the request itself.
 *
 * A write that the kernel takes only in part attaches the request until its callback, and libuv may
 * get rid of the rest within the same call: status and queue are then both 0, as after a write that
 * needed no request, and nothing documented tells the two apart. To give an attached request to
 * another write aborts the process. So none is ever given twice, whatever became of the first: made
 * here, given to the write that follows, and dropped unless {@link claimRequest} keeps it. While it
 * is attached the runtime holds it, and one that nobody claimed has nobody to call and no bytes to
 * keep, for the kernel has them all. Making one takes about 50 ns.
 */
export function makeRequest(): WriteRequest | null {
  if (RequestClass === null) return null;
  const request = new RequestClass();
  request.oncomplete = onComplete;
  request.chunk = null;
  request.waiter = null;
  return request;
}

/**
 * Has the end of a write told to `waiter`, and its bytes kept until then. `given`: what the write was
 * given; `result`: what it returned, which is no failure and has left something over.
 */
export function claimRequest(
  given: WriteRequest | null,
  result: number | WriteRequest,
  waiter: WriteWaiter,
  chunk: Uint8Array | null,
): void {
  const request = typeof result === 'number' ? given! : result;
  request.waiter = waiter;
  request.chunk = chunk;
  if (request === given) return;
  request.oncomplete = onComplete;
  const { writeStatus } = request;
  if (typeof writeStatus === 'number') {
    process.nextTick(() => request.oncomplete(writeStatus));
  }
}

/**
 * The handle of an open socket, or null if it does not look the way we know it. It may be used when the
 * runtime has closed it in the meantime: each of its methods looks first, and a write then returns
 * EINVAL (undefined when the handle is gone, for whose `close` event we have stopped writing by then).
 */
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
 * server does not look the way we know it; sockets then come by its `connection` event.
 *
 * The runtime calls it by name on the handle that listens, or in a worker of `node:cluster` on what
 * stands for it, and gives a handle that is ours from then on: a `net.Socket` closes it. What the
 * server's own callback does besides (its connection limit, its count, which its `close` waits for) we
 * use nothing of.
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
