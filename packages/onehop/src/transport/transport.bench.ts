/**
 * What the seam costs: a minimal HTTP-like ping-pong (150 bytes there, 180 back) over 10 connections,
 * through the seam and on the runtime's own sockets, in CPU time of the process under test per round
 * trip. Fresh processes per block, variants interleaved, order reversed every round.
 *
 *   node packages/onehop/dist/transport/transport.bench.js [--rounds 5] [--trips 40000] [--only seam,raw]
 *
 * Run it with Bun for Bun's sockets.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createServer, Socket as NetSocket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { BunRawSocket, BunRuntime, BunSocketHandler } from './bun/bun-types.ts';
import { type Socket, type SocketHandlers, transport } from './index.ts';
import { createNodeTransport } from './node/transport.ts';

const head = 'POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:8000\r\n';
const request = `${head}content-type: application/json\r\ncontent-length: 20\r\n\r\n`.padEnd(
  150,
  'x',
);
const reply = `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n`.padEnd(180, 'y');
const requestBytes = Buffer.from(request, 'latin1');
const connections = 10;
const isBun = process.versions['bun'] !== undefined;
const bun = (globalThis as unknown as { Bun?: BunRuntime }).Bun;

/** A round trip is over when all of it is there; calls `write` for the next one. */
class Trip {
  got = 0;
}

let tripsLeft = 0;
let onCount = (_left: number): void => {};

/** True when another request is to be sent. */
function onReply(trip: Trip, bytes: number): boolean {
  trip.got += bytes;
  if (trip.got < reply.length) return false;
  trip.got = 0;
  onCount(--tripsLeft);
  return tripsLeft > 0;
}

type Write = 'text' | 'bytes' | 'two' | 'cork';

function seamClient(using: typeof transport, how: Write) {
  const send = (socket: Socket<Trip>): void => {
    if (how === 'text') socket.writeLatin1(request);
    else if (how === 'bytes') socket.write(requestBytes, 0, requestBytes.length);
    else {
      if (how === 'cork') socket.cork();
      socket.writeLatin1(head);
      socket.write(requestBytes, head.length, requestBytes.length);
      if (how === 'cork') socket.uncork();
    }
  };
  const handlers: SocketHandlers<Trip> = {
    open: send,
    data(socket, bytes) {
      if (onReply(socket.state, bytes.length)) send(socket);
    },
    drain() {},
    end() {},
    close() {},
  };
  return (port: number) => void using.connect({ port }, handlers, new Trip());
}

function netClient(how: Write, reuse: boolean) {
  const send = (socket: NetSocket): void => {
    if (how === 'text') socket.write(request, 'latin1');
    else if (how === 'bytes') socket.write(requestBytes);
    else {
      if (how === 'cork') socket.cork();
      socket.write(head, 'latin1');
      socket.write(requestBytes.subarray(head.length));
      if (how === 'cork') socket.uncork();
    }
  };
  const buffer = Buffer.alloc(64 * 1024);
  return (port: number): void => {
    const trip = new Trip();
    const onread = {
      buffer,
      callback(bytes: number) {
        if (onReply(trip, bytes)) send(socket);
        return true;
      },
    };
    const options = (reuse ? { onread } : {}) as ConstructorParameters<typeof NetSocket>[0];
    const socket: NetSocket = new NetSocket(options);
    socket.on('connect', () => send(socket));
    if (!reuse) {
      socket.on('data', (bytes) => {
        if (onReply(trip, bytes.length)) send(socket);
      });
    }
    socket.setNoDelay(true);
    socket.connect({ port, host: '127.0.0.1' });
  };
}

const noHandlers = { drain() {}, end() {}, close() {}, error() {}, connectError() {} };

function bunClient() {
  const socket: BunSocketHandler = {
    ...noHandlers,
    binaryType: 'buffer',
    handshake() {},
    open(raw: BunRawSocket) {
      raw.setNoDelay(true);
      raw.write(request, 'latin1');
    },
    data(raw: BunRawSocket, bytes: Uint8Array) {
      if (onReply(raw.data as Trip, bytes.length)) raw.write(request, 'latin1');
    },
  };
  return (port: number) =>
    void bun!.connect({
      hostname: '127.0.0.1',
      port,
      allowHalfOpen: true,
      data: new Trip(),
      socket,
    });
}

const clients: Record<string, () => (port: number) => void> = isBun
  ? {
      raw: bunClient,
      seam: () => seamClient(transport, 'text'),
      'seam, bytes': () => seamClient(transport, 'bytes'),
      'seam, two writes': () => seamClient(transport, 'two'),
      'seam, two writes corked': () => seamClient(transport, 'cork'),
    }
  : {
      raw: () => netClient('text', false),
      'raw, bytes': () => netClient('bytes', false),
      'raw, onread': () => netClient('text', true),
      'raw, two writes corked': () => netClient('cork', false),
      'seam without shortcuts': () => seamClient(createNodeTransport({ direct: false }), 'text'),
      seam: () => seamClient(transport, 'text'),
      'seam, bytes': () => seamClient(transport, 'bytes'),
      'seam, two writes': () => seamClient(transport, 'two'),
      'seam, two writes corked': () => seamClient(transport, 'cork'),
    };

/** Answers every full request; prints its port and, when told to stop, its CPU time. */
const servers: Record<string, () => Promise<number>> = {
  async seam() {
    const handlers: SocketHandlers<Trip> = {
      open() {},
      data(socket, bytes) {
        socket.state.got += bytes.length;
        if (socket.state.got < request.length) return;
        socket.state.got = 0;
        socket.writeLatin1(reply);
      },
      drain() {},
      end: (socket) => socket.end(),
      close() {},
    };
    return (await transport.listen({}, handlers, () => new Trip())).port;
  },
  raw() {
    if (bun !== undefined) {
      const socket: BunSocketHandler = {
        ...noHandlers,
        binaryType: 'buffer',
        handshake() {},
        open(raw: BunRawSocket) {
          raw.data = new Trip();
          raw.setNoDelay(true);
        },
        data(raw: BunRawSocket, bytes: Uint8Array) {
          const trip = raw.data as Trip;
          trip.got += bytes.length;
          if (trip.got < request.length) return;
          trip.got = 0;
          raw.write(reply, 'latin1');
        },
      };
      const on = { hostname: '127.0.0.1', port: 0, allowHalfOpen: false, data: null, socket };
      return Promise.resolve(bun.listen(on).port);
    }
    const server = createServer({ noDelay: true }, (socket) => {
      const trip = new Trip();
      socket.on('error', () => {});
      socket.on('data', (bytes) => {
        trip.got += bytes.length;
        if (trip.got < request.length) return;
        trip.got = 0;
        socket.write(reply, 'latin1');
      });
    });
    return new Promise((resolve) => {
      server.listen(0, '127.0.0.1', () => resolve((server.address() as { port: number }).port));
    });
  },
};

function cpuUs(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

async function serve(variant: string): Promise<void> {
  console.log(await servers[variant]!());
  process.stdin.on('data', () => console.log(cpuUs()));
  process.stdin.on('end', () => process.exit(0));
}

/** Warms up, then measures, on the same connections. */
function drive(variant: string, port: number, trips: number): void {
  const connect = clients[variant]!();
  tripsLeft = Math.ceil(trips * 1.25);
  let before = 0;
  onCount = (left) => {
    if (left === trips) before = cpuUs();
    if (left !== 0) return;
    console.log((cpuUs() - before) / trips);
    process.exit(0);
  };
  for (let i = 0; i < connections; i++) connect(port);
}

const script = fileURLToPath(import.meta.url);

function start(args: string[]): { child: ChildProcess; line: () => Promise<string> } {
  const child = spawn(process.execPath, [script, ...args], { stdio: ['pipe', 'pipe', 'inherit'] });
  const line = (): Promise<string> =>
    new Promise((resolve, reject) => {
      child.stdout?.once('data', (text) => resolve(String(text).trim()));
      child.once('exit', () => reject(new Error(`${args.join(' ')} ended without a word`)));
    });
  return { child, line };
}

/** CPU µs per round trip of the client and of the server. */
async function block(client: string, server: string, trips: number): Promise<[number, number]> {
  const { child, line } = start(['--serve', server]);
  const port = await line();
  const ask = async (): Promise<number> => {
    const answer = line();
    child.stdin?.write('cpu\n');
    return Number(await answer);
  };
  const before = await ask();
  const clientUs = Number(
    await start(['--drive', client, '--port', port, '--trips', String(trips)]).line(),
  );
  const serverUs = ((await ask()) - before) / (trips * 1.25);
  child.stdin?.end();
  return [clientUs, serverUs];
}

function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

async function compare(rounds: number, trips: number, only: string[]): Promise<void> {
  const names = Object.keys(clients).filter((name) => only.length === 0 || only.includes(name));
  const blocks = [
    ...names.map((name) => ({ label: `client: ${name}`, client: name, server: 'raw', side: 0 })),
    ...['raw', 'seam'].map((name) => ({
      label: `server: ${name}`,
      client: 'raw',
      server: name,
      side: 1,
    })),
  ];
  const results = new Map<string, number[]>(blocks.map(({ label }) => [label, []]));
  for (let round = 0; round < rounds; round++) {
    for (const { label, client, server, side } of round % 2 === 0 ? blocks : blocks.toReversed()) {
      results.get(label)!.push((await block(client, server, trips))[side]!);
    }
  }
  console.log(`${isBun ? 'Bun' : 'Node'} ${process.versions[isBun ? 'bun' : 'node']}`);
  for (const { label } of blocks) {
    const base = results.get(`${label.split(':')[0]}: raw`)!;
    const own = results.get(label)!;
    const ratios = own.map((value, round) => value / base[round]!);
    const spread = `${Math.min(...ratios).toFixed(2)}-${Math.max(...ratios).toFixed(2)}`;
    const cells = [`${median(own).toFixed(2)} us`, `${median(ratios).toFixed(3)}x`, spread];
    console.log(`${label.padEnd(34)} ${cells.join('  ')}`);
  }
}

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    trips: { type: 'string', default: '40000' },
    only: { type: 'string', default: '' },
    serve: { type: 'string' },
    drive: { type: 'string' },
    port: { type: 'string', default: '0' },
  },
});
if (values.serve !== undefined) await serve(values.serve);
else if (values.drive !== undefined) {
  drive(values.drive, Number(values.port), Number(values.trips));
} else {
  const only = values.only === '' ? [] : values.only.split(',');
  await compare(Number(values.rounds), Number(values.trips), only);
}
