/**
 * What takes the short way through the gateway (heads that come again, whole chunks passed on framing
 * and all) must look like what takes the long way. The same random exchanges run twice in a simulated
 * network, once with the shortcuts disabled: caller, upstream and observer must not tell them apart.
 * Replay one run with ONEHOP_SIM_SEED.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  checkConfig,
  createGateway,
  type GatewayConfigInput,
  silentObserver,
} from 'onehop/gateway';
import { RequestParser, ResponseParser } from 'onehop/http1';
import type { Socket, SocketHandlers } from 'onehop/transport';
import { createSimTransport, type SimTransport } from 'onehop/transport/sim';
import { Random } from '../fuzz/random.ts';
import { makeAnswer, makeRequest } from './gateway-shortcuts-scripts.ts';

const runs = 120;

interface Shortcuts {
  headKind?: () => number;
  wholeChunks?: () => number;
}

/** Runs `body` with parsers that never see a head again and never find whole chunks. */
function theLongWay<T>(body: () => T): T {
  const requests = RequestParser.prototype as unknown as Shortcuts;
  const responses = ResponseParser.prototype as unknown as Shortcuts;
  const given = responses.headKind!;
  let kinds = 0;
  const another = (): number => ++kinds;
  requests.headKind = another;
  responses.headKind = another;
  responses.wholeChunks = () => -1;
  try {
    return body();
  } finally {
    delete requests.headKind;
    delete responses.wholeChunks;
    responses.headKind = given;
  }
}

/** How often the shortcuts were taken: runs that never do prove nothing. */
const taken = { heads: 0, chunks: 0 };

function counting<T>(body: () => T): T {
  const requests = RequestParser.prototype as unknown as { readHead?: unknown };
  const responses = ResponseParser.prototype as unknown as { takeChunks?: unknown };
  const readHead = requests.readHead as (...args: unknown[]) => number;
  const takeChunks = responses.takeChunks as (bytes: number) => void;
  requests.readHead = function (this: RequestParser, ...args: unknown[]): number {
    const read = readHead.apply(this, args);
    if (this.head.derived !== null) taken.heads++;
    return read;
  };
  responses.takeChunks = function (this: ResponseParser, bytes: number): void {
    taken.chunks++;
    takeChunks.call(this, bytes);
  };
  try {
    return body();
  } finally {
    delete requests.readHead;
    delete responses.takeChunks;
  }
}

// ---- Both ends --------------------------------------------------------------------------------

/** Whole requests at the front of `text`: the length of the first one, or -1. */
function requestLength(text: string): number {
  const headEnd = text.indexOf('\r\n\r\n');
  if (headEnd < 0) return -1;
  const head = text.slice(0, headEnd + 2).toLowerCase();
  if (head.includes('\r\ntransfer-encoding: chunked\r\n')) {
    const end = text.indexOf('\r\n0\r\n\r\n', headEnd);
    return end < 0 ? -1 : end + 7;
  }
  const length = Number(/\r\ncontent-length: (\d+)\r\n/.exec(head)?.[1] ?? 0);
  return text.length < headEnd + 4 + length ? -1 : headEnd + 4 + length;
}

interface Peer {
  text: string;
  closed: string;
}

/** Without what may be another every time: ids, the length of bodies that hold one, dates. */
const plain = (text: string): string =>
  text
    .replace(/Content-Length: \d+(?=\r\n\r\n\{"error)/g, 'Content-Length: L')
    .replace(/[0-9a-f]+(?=\r\ndata: \{"error)/g, 'L')
    .replace(/[0-9a-f]{12}-[0-9a-z]{2,}/g, 'ID')
    .replace(/^Date: .*\r$/gim, 'Date: D\r');

class Run {
  readonly random: Random;
  readonly sim: SimTransport;
  readonly slowCaller: boolean;
  readonly seenUpstream: string[] = [];
  readonly finished: unknown[] = [];
  readonly bugs: unknown[] = [];
  streamReads = 0;
  answers = 0;
  readonly #seed: number;

  constructor(seed: number) {
    this.#seed = seed;
    this.random = Random.at(seed, 0);
    this.slowCaller = seed % 5 === 0;
    // Reads are cut by the upstream's script, which is the same both times.
    this.sim = createSimTransport({
      seed,
      splitChance: 0,
      partialWriteChance: this.slowCaller ? 0.5 : 0,
      latencyMsMax: 0.5,
    });
  }

  #serve(socket: Socket<Peer>): void {
    const { state } = socket;
    for (;;) {
      const length = requestLength(state.text);
      if (length < 0) return;
      const request = state.text.slice(0, length);
      state.text = state.text.slice(length);
      this.seenUpstream.push(plain(request));
      const random = Random.at(this.#seed, 1000 + this.answers++);
      const answer = makeAnswer(random, request.startsWith('HEAD'));
      let atMs = 0;
      for (const { bytes, afterMs } of answer.pieces) {
        atMs += afterMs;
        this.sim.clock.setTimer(() => {
          if (state.closed === '') socket.write(Buffer.from(bytes, 'latin1'), 0, bytes.length);
        }, atMs);
      }
      if (answer.then === 'stay') return;
      this.sim.clock.setTimer(() => {
        if (state.closed !== '') return;
        // How much a reset loses is up to the network, not to the script.
        if (answer.then === 'end' || this.slowCaller) socket.end();
        else this.sim.reset(socket as Socket<unknown>);
      }, atMs + 4);
      return;
    }
  }

  async listenUpstream(): Promise<number> {
    const handlers: SocketHandlers<Peer> = {
      open() {},
      data: (socket, bytes) => {
        socket.state.text += Buffer.from(bytes).toString('latin1');
        this.#serve(socket);
      },
      drain() {},
      end: (socket) => socket.end(),
      close: (socket) => {
        socket.state.closed = 'closed';
      },
    };
    const listener = await this.sim.listen({ port: 0 }, handlers, () => ({ text: '', closed: '' }));
    return listener.port;
  }

  config(port: number, name: string): GatewayConfigInput {
    return {
      listen: '127.0.0.1:0',
      upstreams: {
        up: { targets: [`http://127.0.0.1:${port}`], retry: { attempts: 1 } },
      },
      routes: [
        {
          path: '/limited',
          upstream: 'up',
          bodyMax: '4B',
          rewrite: { responseHeaders: { set: { 'x-route': name } } },
        },
        {
          path: '/*',
          upstream: 'up',
          sseKeepAlive: '40ms',
          rewrite: { requestHeaders: { set: { 'x-conf': name } } },
        },
      ],
    } as never;
  }

  async start() {
    const port = await this.listenUpstream();
    const gateway = createGateway(this.config(port, 'one'), {
      transport: this.sim,
      random: () => 0.5,
      observer: {
        ...silentObserver,
        onFinish: (exchange) => {
          const { downstream, error, upstreamStatus, attempts } = exchange;
          const { status, requestBytes } = downstream;
          const code = error?.code ?? null;
          // What we say ourselves holds the id, which may be longer, or depends on the moment.
          const responseBytes =
            code === null && upstreamStatus > 0 && !this.slowCaller ? downstream.responseBytes : 0;
          this.finished.push({
            status,
            requestBytes,
            responseBytes,
            upstreamStatus,
            attempts,
            code,
            atEventBoundary: exchange.stream?.atEventBoundary ?? true,
            firstByte: exchange.firstByteMs > 0,
          });
        },
        onStreamRead: () => {
          this.streamReads++;
        },
        onInternalError: (error) => this.bugs.push(error),
      },
    });
    return { gateway, port, listener: (await gateway.listen())[0]! };
  }
}

interface Outcome {
  caller: string[];
  upstream: string[];
  finished: unknown[];
  streamReads: number;
}

/** A caller that keeps what it reads; a slow one pauses behind every read. */
function callerHandlers(run: Run): SocketHandlers<Peer> {
  return {
    open() {},
    data: (socket, bytes) => {
      socket.state.text += Buffer.from(bytes).toString('latin1');
      if (!run.slowCaller) return;
      socket.pause();
      run.sim.clock.setTimer(() => socket.resume(), 25);
    },
    drain() {},
    end: (socket) => socket.end(),
    close(socket, error) {
      socket.state.closed = error === null ? 'closed' : 'reset';
    },
  };
}

async function runOnce(seed: number): Promise<() => Outcome> {
  const run = new Run(seed);
  const { gateway, port, listener } = await run.start();
  return () => {
    const { clock } = run.sim;
    const callers: string[] = [];
    const handlers = callerHandlers(run);
    const { random } = run;
    const open = (): Socket<Peer> => {
      const socket = run.sim.connect({ port: listener.port }, handlers, { text: '', closed: '' });
      clock.advance(10);
      return socket;
    };
    let socket = open();
    const leave = (): void => {
      callers.push(plain(`${socket.state.text}<${socket.state.closed}>`));
    };
    let request = makeRequest(random);
    for (let i = 0; i < 14; i++) {
      if (random.below(10) > 5) request = makeRequest(random);
      if (random.oneIn(12)) {
        const { config, problems } = checkConfig(run.config(port, `name${i}`));
        assert.deepEqual(problems, []);
        gateway.reload(config!);
      }
      const bytes = Buffer.from(
        `${random.oneIn(12) ? '\r\n' : ''}${request}${random.oneIn(5) ? request : ''}`,
        'latin1',
      );
      if (random.oneIn(6)) {
        const at = random.below(bytes.length);
        socket.write(bytes, 0, at);
        clock.advance(3);
        socket.write(bytes, at, bytes.length);
      } else socket.write(bytes, 0, bytes.length);
      if (!run.slowCaller && random.oneIn(15)) {
        clock.advance(random.below(60));
        socket.destroy();
      }
      clock.advance(3000);
      if (socket.state.closed !== '' || random.oneIn(20)) {
        leave();
        if (socket.state.closed === '') socket.end();
        clock.advance(100);
        socket = open();
      }
    }
    leave();
    socket.end();
    clock.advance(60_000);
    assert.deepEqual(run.bugs, []);
    assert.equal(gateway.server.counters.exchangesOpen, 0, `seed ${seed}`);
    return {
      caller: callers,
      upstream: run.seenUpstream,
      finished: run.finished,
      streamReads: run.streamReads,
    };
  };
}

/**
 * What may differ, for it means the same: the spelling of chunk sizes goes through on the short way,
 * and the line end behind the last chunk of a body that is cut short comes at once there.
 */
const respelt = (text: string): string =>
  text.replace(/\r\n00([0-9a-f]+)\r\n/g, '\r\n$1\r\n').replace(/(?:\r\n)*<(\w*)>$/, '<$1>');

/**
 * Bodies without their chunks, for runs where the cuts of reads depend on the network, and with them
 * when a comment may stand in between.
 */
function joined(given: string): string {
  const text = respelt(given);
  const field = /\r\ntransfer-encoding: chunked\r\n(?:.+\r\n)*\r\n/g;
  const line = /([0-9a-f]+)\r\n/y;
  let out = '';
  let from = 0;
  for (let head = field.exec(text); head !== null; head = field.exec(text)) {
    let at = field.lastIndex;
    out += text.slice(from, at);
    for (;;) {
      line.lastIndex = at;
      const size = line.exec(text);
      if (size === null) break;
      const length = Number.parseInt(size[1]!, 16);
      at += size[0].length;
      if (length === 0) break;
      out += text.slice(at, at + length);
      at += length + 2;
    }
    from = Math.min(at, text.length);
    field.lastIndex = from;
  }
  return (out + text.slice(from)).replaceAll(': keep-alive\n\n', '');
}

test('random exchanges look the same with and without the shortcuts', async () => {
  const given = process.env.ONEHOP_SIM_SEED;
  const seeds =
    given === undefined ? Array.from({ length: runs }, (_, i) => i + 1) : [Number(given)];
  for (const seed of seeds) {
    const short = await runOnce(seed);
    const long = await runOnce(seed);
    const outcome = counting(short);
    const expected = theLongWay(long);
    const same = seed % 5 === 0 ? joined : respelt;
    assert.deepEqual(outcome.caller.map(same), expected.caller.map(same), `seed ${seed}`);
    assert.deepEqual(outcome.upstream, expected.upstream, `seed ${seed}`);
    assert.deepEqual(outcome.finished, expected.finished, `seed ${seed}`);
    if (seed % 5 !== 0) assert.equal(outcome.streamReads, expected.streamReads, `seed ${seed}`);
  }
  if (given !== undefined) return;
  assert.ok(taken.heads > 100 && taken.chunks > 100, JSON.stringify(taken));
});
