/** The seam on `node:net` and `node:tls`. */
import cluster from 'node:cluster';
import {
  createServer,
  isIP,
  type ListenOptions as NetListenOptions,
  Socket as NetSocket,
  type Server,
} from 'node:net';
import { type ConnectionOptions, connect, createSecureContext, type SecureContext } from 'node:tls';
import { OnehopError, systemClock } from '../../core/index.ts';
import { describeTarget, listenError } from '../errors.ts';
import { dropNothing, joinCopies } from '../reads.ts';
import {
  type ConnectOptions,
  type Listener,
  type ListenOptions,
  type SocketHandlers,
  sendQueueBytesMax,
  type TlsOptions,
  type Transport,
} from '../types.ts';
import { takeAccepts } from './handle.ts';
import { block, bodyBuffer, freeBlock } from './memory.ts';
import { NodeSocket, onData, onOpen, onRead, readBuffer } from './socket.ts';

export interface NodeTransportOptions {
  /** Use the undocumented shortcuts of `handle.ts`. False is for tests and for comparison. */
  direct: boolean;
}

/** Parsing a bundle of certificates takes milliseconds, so once per options object. */
const contexts = new WeakMap<TlsOptions, SecureContext>();

function contextOf(tls: TlsOptions): SecureContext {
  let context = contexts.get(tls);
  if (context === undefined) {
    context = createSecureContext({ ca: tls.ca, cert: tls.cert, key: tls.key });
    contexts.set(tls, context);
  }
  return context;
}

const callback = onRead as unknown as () => boolean;

function tlsOptions(options: ConnectOptions, tls: TlsOptions): ConnectionOptions {
  const name = tls.serverName ?? options.host ?? '';
  const made: ConnectionOptions & { allowHalfOpen: boolean } = {
    secureContext: contextOf(tls),
    rejectUnauthorized: tls.rejectUnauthorized !== false,
    ALPNProtocols: tls.alpnProtocols,
    // SNI carries names only (RFC 6066 section 3); the certificate is checked against `host`.
    servername: isIP(name) === 0 ? name : '',
    allowHalfOpen: true,
  };
  return made;
}

function targetOf(options: ConnectOptions): { path: string } | { host: string; port: number } {
  return options.path !== undefined
    ? { path: options.path }
    : { host: options.host ?? '127.0.0.1', port: options.port ?? 0 };
}

/** The socket, not yet connecting, or one that is about to fail with what was wrong. */
function dial<State>(
  options: ConnectOptions,
  handlers: SocketHandlers<State>,
  state: State,
  direct: boolean,
): NodeSocket<State> {
  const { tls, laterTls } = options;
  const secure =
    laterTls === undefined
      ? null
      : (plain: NetSocket) => {
          // `host` is who the certificate is checked against when there is no server name.
          const host = laterTls.serverName ?? options.host ?? '';
          return connect({ ...tlsOptions(options, laterTls), socket: plain, host });
        };
  // Sockets that are to be wrapped are left to the documented ways.
  const isDirect = direct && secure === null;
  const wrap = (net: NetSocket) =>
    new NodeSocket(
      net,
      handlers,
      state,
      describeTarget(options),
      options.sendQueueBytesMax ?? sendQueueBytesMax,
      tls !== undefined,
      isDirect,
      secure,
    );
  if (tls !== undefined) {
    try {
      const net = connect({ ...tlsOptions(options, tls), ...targetOf(options) });
      net.setNoDelay(true);
      const socket = wrap(net);
      net.once('secureConnect', onOpen);
      // Not `onread`: a pause would not hold what is already decrypted.
      net.on('data', onData);
      return socket;
    } catch (error) {
      const net = new NetSocket();
      const socket = wrap(net);
      net.destroy(error as Error);
      return socket;
    }
  }
  let socket: NodeSocket<State>;
  // A function is asked after each read: a client may want a body read straight to where it belongs.
  // It may answer null for "as before", which the types do not know.
  const buffer = (): Uint8Array => socket.nextReadTarget() as Uint8Array;
  const net = new NetSocket({
    allowHalfOpen: true,
    ...(isDirect ? { onread: { buffer, callback } } : {}),
  });
  socket = wrap(net);
  net.once('connect', onOpen);
  if (!isDirect) net.on('data', onData);
  try {
    // An option of the constructor, not of connect(): called here, it waits for the handle.
    if (options.path === undefined) net.setNoDelay(true);
    net.connect(targetOf(options));
  } catch (error) {
    net.destroy(error as Error);
  }
  return socket;
}

function supportsReusePort(): boolean {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  return major > 22 || (major === 22 && minor >= 12);
}

function bindOptions(options: ListenOptions): NetListenOptions {
  const bind: NetListenOptions & { reusePort?: boolean; fd?: number } = { exclusive: true };
  if (options.backlog !== undefined) bind.backlog = options.backlog;
  if (options.descriptor !== undefined) {
    bind.fd = options.descriptor;
    return bind;
  }
  if (options.path !== undefined) bind.path = options.path;
  else {
    bind.host = options.host ?? '127.0.0.1';
    bind.port = options.port ?? 0;
  }
  if (options.reusePort === true) {
    // The workers of one cluster share through their primary, on every version.
    if (cluster.isWorker) bind.exclusive = false;
    else if (supportsReusePort()) bind.reusePort = true;
    else {
      throw new OnehopError(
        'LISTEN_FAILED',
        `reusePort needs Node 22.12 or later, this is ${process.versions.node}: use node:cluster`,
        { phase: 'config' },
      );
    }
  }
  return bind;
}

/** Turns of the event loop that a busy port is given to be accepted empty. */
const emptyTurnsMax = 1000;

/** Twice: called from a read or a signal, the first is run in the turn under way, before any poll. */
const wholeTurn = (): Promise<void> =>
  new Promise((resolve) => setImmediate(() => setImmediate(resolve)));

/**
 * Closing a port resets what is established and not accepted, of which libuv takes one in a turn: it
 * is closed behind the first turn that brought none.
 */
async function closeEmpty(server: Server, acceptedCount: () => number): Promise<void> {
  for (let turn = 0; turn < emptyTurnsMax; turn++) {
    const before = acceptedCount();
    await wholeTurn();
    if (acceptedCount() === before) break;
  }
  // Not server.close(callback): that waits for the open sockets to go.
  server.close();
  await wholeTurn();
}

function listen<State>(
  options: ListenOptions,
  handlers: SocketHandlers<State>,
  makeState: () => State,
  direct: boolean,
): Promise<Listener> {
  const queueBytesMax = options.sendQueueBytesMax ?? sendQueueBytesMax;
  const server = createServer({ allowHalfOpen: true, noDelay: true });
  let acceptedCount = 0;
  const adopt = (net: NetSocket): void => {
    acceptedCount++;
    try {
      const state = makeState();
      new NodeSocket(net, handlers, state, 'downstream', queueBytesMax, false, direct).onOpen();
    } catch (error) {
      // An exception of our own code: without an owner the connection would stay open for good.
      net.destroy();
      throw error;
    }
  };
  server.on('connection', (net) => {
    net.on('data', onData);
    adopt(net);
  });
  return new Promise((resolve, reject) => {
    const fail = (error: unknown): void => {
      reject(error instanceof OnehopError ? error : listenError(error, describeTarget(options)));
    };
    server.once('error', fail);
    server.once('listening', () => {
      server.off('error', fail);
      // Accept errors (out of descriptors) pass; the next accept may work.
      server.on('error', () => {});
      if (direct) {
        takeAccepts(server, (handle) => {
          const given = { handle, allowHalfOpen: true, onread: { buffer: readBuffer(), callback } };
          const net = new NetSocket(given as ConstructorParameters<typeof NetSocket>[0]);
          if (options.path === undefined) net.setNoDelay(true);
          adopt(net);
        });
      }
      const address = server.address();
      const bound = address !== null && typeof address === 'object' ? address : null;
      resolve({
        host: bound?.address ?? '',
        port: bound?.port ?? 0,
        path: options.path ?? null,
        close: () => closeEmpty(server, () => acceptedCount),
        ref: () => void server.ref(),
        unref: () => void server.unref(),
      });
    });
    try {
      server.listen(bindOptions(options));
    } catch (error) {
      fail(error);
    }
  });
}

export function createNodeTransport({ direct }: NodeTransportOptions): Transport {
  return {
    name: 'node',
    clock: systemClock,
    turn: wholeTurn,
    bodyBuffer,
    block,
    freeBlock,
    joinReads: joinCopies,
    dropReads: dropNothing,
    connect: (options, handlers, state) => dial(options, handlers, state, direct),
    listen: (options, handlers, makeState) => listen(options, handlers, makeState, direct),
  };
}

export const transport: Transport = createNodeTransport({ direct: true });
