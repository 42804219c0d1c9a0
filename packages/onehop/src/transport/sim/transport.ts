/**
 * A network in memory, for tests: virtual time, and a seeded generator that splits reads, delays
 * events, lets sockets overtake each other, takes writes in parts, and on demand or at random
 * refuses, resets or silences connections. Bytes within a connection keep their order. Borrowed
 * bytes are spoiled when `data` returns, so that whoever keeps them finds out.
 *
 * TLS is not simulated: the `tls` options are accepted, and the first ALPN name is agreed on.
 */
import { OnehopError } from '../../core/index.ts';
import { connectError, describeTarget, listenError } from '../errors.ts';
import { dropNothing, joinCopies } from '../reads.ts';
import {
  type ConnectOptions,
  type Listener,
  type ListenOptions,
  type Socket,
  type SocketHandlers,
  sendQueueBytesMax,
  type Transport,
} from '../types.ts';
import { SimClock } from './clock.ts';
import type { SimNetwork, SimOptions } from './network.ts';
import { Random } from './random.ts';
import { SimSocket } from './socket.ts';

export { SimClock } from './clock.ts';
export type { SimOptions } from './network.ts';

export interface SimTransport extends Transport {
  readonly name: 'sim';
  readonly clock: SimClock;
  readonly seed: number;
  /** Sockets, either side, whose `close` was not delivered yet. */
  readonly openSockets: number;
  /** Changes chances from now on, for instance to end a spell of resets. */
  set(options: Omit<SimOptions, 'seed'>): void;
  /** Resets a connection: both sides get `close` with UPSTREAM_RESET. */
  reset(socket: Socket<unknown>): void;
  /** Lets a connection go silent, as a network that drops every packet. */
  silence(socket: Socket<unknown>): void;
}

const defaults: Omit<Required<SimOptions>, 'seed'> = {
  latencyMsMax: 1,
  splitChance: 0.5,
  partialWriteChance: 0.2,
  resetChance: 0,
  dropChance: 0,
  refuseChance: 0,
  readBytesMax: 64 * 1024,
  kernelBytesMax: 64 * 1024,
};

type Accept = (peer: SimSocket<unknown>, alpn: string) => SimSocket<unknown>;

const isLocal = (host: string): boolean =>
  host === '' || host === 'localhost' || host === '0.0.0.0' || host === '::' || host === '::1';
const isAddress = (host: string): boolean => /^[\d.]+$/.test(host) || host.includes(':');
/** All names of this machine are one; other hosts may be simulated by listening on them. */
const hostKey = (host: string | undefined): string =>
  host === undefined || isLocal(host) ? '127.0.0.1' : host;

class Network implements SimNetwork {
  readonly clock = new SimClock();
  readonly random: Random;
  readonly options: Required<SimOptions>;
  readonly sockets = new Set<SimSocket<unknown>>();
  readonly accepts = new Map<string, Accept>();
  readonly hosts = new Set<string>(['127.0.0.1']);
  nextPort = 40_000;

  constructor(options: SimOptions) {
    const seed = options.seed ?? Math.floor(Math.random() * 0xffffffff);
    this.options = { ...defaults, ...options, seed };
    this.random = new Random(seed);
  }

  later(callback: () => void): void {
    this.clock.setTimer(callback, this.random.next() * this.options.latencyMsMax);
  }

  breakConnection(one: SimSocket<unknown>, other: SimSocket<unknown>): void {
    one.onReset('connection reset by the network');
    this.later(() => other.onReset('connection reset by the network'));
  }
}

function keyOf(options: { host?: string; port?: number; path?: string }): string {
  return options.path !== undefined
    ? `unix:${options.path}`
    : `${hostKey(options.host)}:${options.port ?? 0}`;
}

function dial<State>(
  network: Network,
  options: ConnectOptions,
  handlers: SocketHandlers<State>,
  state: State,
): SimSocket<State> {
  const target = describeTarget(options);
  const queueBytesMax = options.sendQueueBytesMax ?? sendQueueBytesMax;
  const socket = new SimSocket(network, handlers, state, target, queueBytesMax);
  const mine = socket as SimSocket<unknown>;
  network.sockets.add(mine);
  const fail = (code: string): void => {
    const cause = Object.assign(new Error(code), { code });
    socket.onConnectFailed(connectError(cause, target, options.tls !== undefined));
  };
  network.later(() => {
    if (socket.abandoned) return;
    const accept = network.accepts.get(keyOf(options));
    const host = hostKey(options.host);
    if (options.path === undefined && !isAddress(host) && !network.hosts.has(host)) {
      fail('ENOTFOUND');
    } else if (accept === undefined || network.random.chance(network.options.refuseChance)) {
      fail('ECONNREFUSED');
    } else {
      const alpn = options.tls?.alpnProtocols?.[0] ?? '';
      const peer = accept(mine, alpn);
      socket.join(peer, options.path === undefined ? host : '', alpn);
      // Either side may hear of it first.
      network.later(() => peer.onOpen());
      network.later(() => socket.onOpen());
    }
  });
  return socket;
}

async function listen<State>(
  network: Network,
  options: ListenOptions,
  handlers: SocketHandlers<State>,
  makeState: () => State,
): Promise<Listener> {
  const port = options.path !== undefined ? 0 : options.port || network.nextPort++;
  const key = keyOf({ ...options, port });
  if (network.accepts.has(key)) {
    const cause = Object.assign(new Error('EADDRINUSE'), { code: 'EADDRINUSE' });
    throw listenError(cause, describeTarget(options));
  }
  const queueBytesMax = options.sendQueueBytesMax ?? sendQueueBytesMax;
  network.hosts.add(hostKey(options.host));
  network.accepts.set(key, (peer, alpn) => {
    const socket = new SimSocket(network, handlers, makeState(), 'downstream', queueBytesMax);
    const made = socket as SimSocket<unknown>;
    socket.join(peer, options.path === undefined ? '127.0.0.1' : '', alpn);
    network.sockets.add(made);
    return made;
  });
  return {
    host: options.path === undefined ? (options.host ?? '127.0.0.1') : '',
    port,
    path: options.path ?? null,
    async close() {
      network.accepts.delete(key);
    },
    ref() {},
    unref() {},
  };
}

function simulated(socket: Socket<unknown>): SimSocket<unknown> {
  if (socket instanceof SimSocket) return socket;
  throw new OnehopError('ARGUMENT_INVALID', 'not a socket of this transport', { phase: 'config' });
}

/** Makes a network of its own: sockets of two simulations never meet. */
export function createSimTransport(options: SimOptions = {}): SimTransport {
  const network = new Network(options);
  return {
    name: 'sim',
    clock: network.clock,
    turn: () => new Promise((resolve) => void network.clock.setTimer(resolve, 0)),
    bodyBuffer: Buffer.allocUnsafeSlow,
    block: (byteLength) => new Uint8Array(byteLength),
    // Who looks at it all the same is found out.
    freeBlock: (block) => void block.fill(0),
    joinReads: joinCopies,
    dropReads: dropNothing,
    seed: network.options.seed,
    get openSockets() {
      return network.sockets.size;
    },
    connect: (to, handlers, state) => dial(network, to, handlers, state),
    listen: (on, handlers, makeState) => listen(network, on, handlers, makeState),
    set: (changes) => void Object.assign(network.options, changes),
    reset(socket) {
      const one = simulated(socket);
      if (one.peer !== null) network.breakConnection(one, one.peer);
    },
    silence(socket) {
      const one = simulated(socket);
      one.silence();
      one.peer?.silence();
    },
  };
}
