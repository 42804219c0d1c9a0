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
import type {
  BunConnectOptions,
  BunListener,
  BunListenOptions,
  BunRuntime,
  BunSocketHandler,
  BunTlsOptions,
} from './bun-types.ts';
import { BunSocket } from './socket.ts';

/** What `data` holds on a socket that was just accepted, before it gets its own. */
class Accepting {
  readonly make: () => BunSocket<unknown>;

  constructor(make: () => BunSocket<unknown>) {
    this.make = make;
  }
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

function dial<State>(
  options: ConnectOptions,
  handlers: SocketHandlers<State>,
  state: State,
): BunSocket<State> {
  const { tls, path, host = '127.0.0.1', port = 0 } = options;
  const socket = new BunSocket(
    handlers,
    state,
    describeTarget(options),
    options.sendQueueBytesMax ?? sendQueueBytesMax,
    tls ?? null,
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
  try {
    if (tls !== undefined) given.tls = tlsOptions(tls, host);
    // `open` and `connectError` tell the same as the promise, except for bad arguments.
    runtime()
      .connect(given)
      .catch((error: unknown) => socket.fail(error));
  } catch (error) {
    socket.fail(error);
  }
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
  if (options.path !== undefined) given.unix = options.path;
  else {
    given.hostname = options.host ?? '127.0.0.1';
    given.port = options.port ?? 0;
    given.exclusive = options.reusePort !== true;
    given.reusePort = options.reusePort === true;
  }
  return runtime().listen(given);
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
  return {
    host: options.path === undefined ? listener.hostname : '',
    port: options.path === undefined ? listener.port : 0,
    path: options.path ?? null,
    close() {
      listener.stop(false);
      return new Promise((closed) => setImmediate(closed));
    },
    ref: () => listener.ref(),
    unref: () => listener.unref(),
  };
}

export const transport: Transport = {
  name: 'bun',
  clock: systemClock,
  connect: dial,
  listen,
};
