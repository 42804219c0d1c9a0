/** The seam on `Bun.connect` and `Bun.listen`. */
import { systemClock } from '../../core/index.ts';
import { describeTarget, listenError } from '../errors.ts';
import {
  type ConnectOptions,
  type Listener,
  type ListenOptions,
  type SocketHandlers,
  sendQueueBytesMax,
  type TlsOptions,
  type Transport,
} from '../types.ts';
import { askFirst, mustAskFirst } from './abandoned.ts';
import { hasPending, ignoreNew, learnPending } from './accept-queue.ts';
import type {
  BunConnectOptions,
  BunListener,
  BunListenOptions,
  BunRawSocket,
  BunRuntime,
  BunSocketHandler,
  BunTlsOptions,
} from './bun-types.ts';
import { dropReads, joinReads } from './reads.ts';
import { BunSocket } from './socket.ts';

/** What `data` holds on a socket that was just accepted, before it gets its own. */
class Accepting {
  readonly make: () => BunSocket<unknown>;

  constructor(make: () => BunSocket<unknown>) {
    this.make = make;
  }
}

/** What `data` holds on the plain side of a connection that has gone over to TLS. */
class Retired {
  onBytes(): void {}
  onDrain(): void {}
  onEnd(): void {}
}

/** The one handler object of the process: whose socket it is, is in `data`. */
function makeHandler(tls: boolean): BunSocketHandler {
  return {
    binaryType: 'buffer',
    open(raw) {
      const { data } = raw;
      if (data instanceof Accepting) {
        const socket = data.make();
        raw.data = socket;
        if (socket.onRawOpen(raw)) socket.onOpen();
      } else {
        const socket = data as BunSocket<unknown>;
        if (socket.onRawOpen(raw) && !tls) socket.onOpen();
      }
    },
    data(raw, bytes) {
      (raw.data as BunSocket<unknown>).onBytes(bytes);
    },
    drain(raw) {
      (raw.data as BunSocket<unknown>).onDrain();
    },
    end(raw) {
      (raw.data as BunSocket<unknown>).onEnd();
    },
    close(raw, error) {
      // From within our own `terminate` or `end` too, hence later: `close` is never synchronous.
      const { data } = raw;
      if (data instanceof BunSocket) queueMicrotask(() => data.onRawClose(error));
    },
    error(raw, error) {
      const { data } = raw;
      if (data instanceof BunSocket) data.fail(error);
      // The peer's TLS alert behind the handshake, a client certificate refused for one.
      if (tls && error instanceof Error && error.message.includes('SSL routines')) return;
      // An exception of our own code; nothing of this socket can be trusted any more.
      queueMicrotask(() => {
        throw error;
      });
    },
    connectError(raw, error) {
      (raw.data as BunSocket<unknown>).fail(error);
    },
    handshake(raw, success, error) {
      const socket = raw.data as BunSocket<unknown>;
      if (!tls) return;
      if (success) socket.onOpen();
      else socket.onRefused(raw, error);
    },
  };
}

const plainHandler = makeHandler(false);
const tlsHandler = makeHandler(true);

function runtime(): BunRuntime {
  return (globalThis as unknown as { Bun: BunRuntime }).Bun;
}

function alpnWire(protocols: string[]): Uint8Array {
  return Buffer.concat(
    protocols.map((name) => Buffer.from(String.fromCharCode(name.length) + name, 'latin1')),
  );
}

function tlsOptions(tls: TlsOptions, host: string): BunTlsOptions {
  const made: BunTlsOptions = {
    serverName: tls.serverName ?? host,
    rejectUnauthorized: tls.rejectUnauthorized !== false,
  };
  if (tls.ca !== undefined) made.ca = tls.ca;
  if (tls.cert !== undefined) made.cert = tls.cert;
  if (tls.key !== undefined) made.key = tls.key;
  if (tls.alpnProtocols !== undefined) made.ALPNProtocols = alpnWire(tls.alpnProtocols);
  return made;
}

/** Hands the connection of `socket` over to TLS. */
function secure(
  plain: BunRawSocket,
  socket: BunSocket<unknown>,
  tls: TlsOptions,
  host: string,
): TlsOptions {
  plain.data = new Retired();
  plain.upgradeTLS({ data: socket, tls: tlsOptions(tls, host), socket: tlsHandler });
  return tls;
}

function dial<State>(
  options: ConnectOptions,
  handlers: SocketHandlers<State>,
  state: State,
): BunSocket<State> {
  const { tls, laterTls, path, host = '127.0.0.1', port = 0 } = options;
  const socket: BunSocket<State> = new BunSocket(
    handlers,
    state,
    describeTarget(options),
    options.sendQueueBytesMax ?? sendQueueBytesMax,
    tls ?? null,
    laterTls === undefined
      ? null
      : (plain) => secure(plain, socket as BunSocket<unknown>, laterTls, host),
  );
  const given: BunConnectOptions = {
    allowHalfOpen: true,
    data: socket,
    socket: tls === undefined ? plainHandler : tlsHandler,
  };
  if (path !== undefined) given.unix = path;
  else {
    given.hostname = host;
    given.port = port;
  }
  const start = (): void => {
    socket.asking(null);
    try {
      if (tls !== undefined) given.tls = tlsOptions(tls, host);
      // `open` and `connectError` tell the same as the promise, except for bad arguments.
      runtime()
        .connect(given)
        .catch((error: unknown) => socket.fail(error));
    } catch (error) {
      socket.fail(error);
    }
  };
  if (path === undefined && mustAskFirst(describeTarget(options))) {
    socket.asking(askFirst({ host, port }, start, (error) => socket.fail(error)));
  } else start();
  return socket;
}

function bind<State>(
  options: ListenOptions,
  handlers: SocketHandlers<State>,
  makeState: () => State,
): BunListener {
  const queueBytesMax = options.sendQueueBytesMax ?? sendQueueBytesMax;
  const make = (): BunSocket<unknown> =>
    new BunSocket(handlers, makeState(), 'downstream', queueBytesMax, null) as BunSocket<unknown>;
  const given: BunListenOptions = {
    allowHalfOpen: true,
    data: new Accepting(make),
    socket: plainHandler,
  };
  if (options.backlog !== undefined) given.backlog = options.backlog;
  if (options.descriptor !== undefined) {
    // Both are asked for and not looked at.
    given.hostname = options.host ?? '127.0.0.1';
    given.port = options.port ?? 0;
    given.fd = options.descriptor;
    return runtime().listen(given);
  }
  if (options.path !== undefined) given.unix = options.path;
  else {
    given.hostname = options.host ?? '127.0.0.1';
    given.port = options.port ?? 0;
    given.exclusive = options.reusePort !== true;
    given.reusePort = options.reusePort === true;
  }
  return runtime().listen(given);
}

/** Turns of the event loop that a busy port is given to be accepted empty. */
const emptyTurnsMax = 100;
/** A handshake that has begun is given so long to end: callers near by need less than one. */
const handshakeMs = 3;
const wholeTurn = (): Promise<void> =>
  new Promise((resolve) => setImmediate(() => setImmediate(resolve)));

async function acceptAll(listener: BunListener): Promise<void> {
  // In one turn Bun takes all that wait; who else comes is only known of where it can be asked for.
  await wholeTurn();
  for (let turn = 0; turn < emptyTurnsMax && hasPending(listener.fd); turn++) await wholeTurn();
}

/**
 * Closing a port resets what is established and not accepted, and what is in its handshake: it is
 * accepted first. Of those who share the port, who comes in the meantime is not answered and asks
 * again; there is no moment between a look at the queue and the end in which somebody could come.
 */
async function closeEmpty(listener: BunListener, shared: boolean): Promise<void> {
  await acceptAll(listener);
  if (shared && ignoreNew(listener.fd)) {
    await new Promise((resolve) => setTimeout(resolve, handshakeMs));
    await acceptAll(listener);
  }
  listener.stop(false);
  await wholeTurn();
}

async function listen<State>(
  options: ListenOptions,
  handlers: SocketHandlers<State>,
  makeState: () => State,
): Promise<Listener> {
  let listener: BunListener;
  try {
    listener = bind(options, handlers, makeState);
  } catch (error) {
    throw listenError(error, describeTarget(options));
  }
  const inherited = options.descriptor !== undefined;
  const shared = !inherited && options.reusePort === true;
  if (shared) await learnPending();
  return {
    host: options.path !== undefined ? '' : inherited ? options.host! : listener.hostname,
    port: options.path !== undefined ? 0 : inherited ? options.port! : listener.port,
    path: options.path ?? null,
    close: () => closeEmpty(listener, shared),
    ref: () => listener.ref(),
    unref: () => listener.unref(),
  };
}

export const transport: Transport = {
  name: 'bun',
  clock: systemClock,
  turn: wholeTurn,
  bodyBuffer: Buffer.allocUnsafeSlow,
  block: (byteLength) => new Uint8Array(byteLength),
  // What is moved out of a buffer and dropped is freed now, where shrinking one frees nothing.
  freeBlock({ buffer }) {
    (buffer as ArrayBuffer & { transfer(byteLength: number): ArrayBuffer }).transfer(0);
  },
  joinReads,
  dropReads,
  connect: dial,
  listen,
};
