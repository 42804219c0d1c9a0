/**
 * One random run of the client on the simulated network: a server that misbehaves in every way it
 * knows, requests of every kind, resets, splits and delays; and what must hold all the same.
 */
import assert from 'node:assert/strict';
import { type Exchange, type ExchangeHandler, noFields, Origin } from 'onehop/client';
import { createSimTransport, type SimTransport } from 'onehop/transport/sim';
import { chunked, ok, type RawPeer, type RawRequest, RawServer } from '../support/raw-server.ts';

class Random {
  #state: number;
  constructor(seed: number) {
    this.#state = (seed * 2654435761) | 1;
  }
  below(limit: number): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return (this.#state >>> 0) % limit;
  }
}

interface Call {
  id: number;
  method: string;
  body: string;
  received: string;
  heads: number;
  ends: number;
  errors: string[];
  left: string[];
}

/** What the server answers to a request, so that a swapped or cut body shows. */
const answerTo = (target: string): string => `${target}:`.repeat(1 + (target.length % 7) * 40);

/** Ways to answer. `true`: the connection may carry another request. */
type Answer = (peer: RawPeer, body: string) => boolean;

const ANSWERS: Answer[] = [
  (peer, body) => {
    peer.send(ok(body));
    return true;
  },
  (peer, body) => {
    peer.send(ok(body));
    return true;
  },
  (peer, body) => {
    peer.send(ok(body));
    return true;
  },
  (peer, body) => {
    const cut = body.length >> 1;
    peer.send(chunked([body.slice(0, cut), body.slice(cut)].filter((piece) => piece !== '')));
    return true;
  },
  (peer, body) => {
    peer.send(`HTTP/1.1 103 Early\r\n\r\n${ok(body)}`);
    return true;
  },
  (peer, body) => {
    peer.sendLast(`HTTP/1.1 200 OK\r\n\r\n${body}`);
    return false;
  },
  (peer, body) => {
    peer.send(ok(body, 'Connection: close\r\n'));
    return false;
  },
  (peer) => {
    peer.socket.destroy();
    return false;
  },
  (peer) => {
    peer.reset();
    return false;
  },
  (peer) => {
    peer.sendLast('HTTP/1.1 200 OK\r\nConte');
    return false;
  },
  () => false, // silence: the deadline ends it
  (peer, body) => {
    peer.sendLast(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length + 9}\r\n\r\n${body}`);
    return false;
  },
  (peer, body) => {
    peer.send(`${ok(body)}garbage behind it`);
    return false;
  },
  (peer, body) => {
    peer.send(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body.slice(0, 3)}`);
    peer.reset();
    return false;
  },
  (peer) => {
    peer.send('HTTP/1.1 100 Continue\r\n\r\n'.repeat(40));
    return false;
  },
  (peer) => {
    peer.send('what is this\r\n\r\n');
    return false;
  },
];

class Run {
  readonly random: Random;
  readonly transport: SimTransport;
  readonly calls: Call[] = [];
  /** How often each request was processed to its end by the server. */
  readonly processed = new Map<string, number>();
  readonly faulty: boolean;
  lastResumeMs = 0;
  origin!: Origin;
  server!: RawServer;

  constructor(seed: number) {
    this.random = new Random(seed);
    this.faulty = seed % 3 !== 0;
    this.transport = createSimTransport({
      seed,
      resetChance: seed % 5 === 0 ? 0.01 : 0,
      refuseChance: seed % 7 === 0 ? 0.1 : 0,
    });
  }

  async start(seed: number): Promise<void> {
    this.server = new RawServer((peer, request) => this.onRequest(peer, request));
    await this.server.listen(this.transport);
    this.origin = new Origin(
      { scheme: 'http', host: '127.0.0.1', port: this.server.port },
      {
        transport: this.transport,
        defer: (callback) => queueMicrotask(callback),
        connectionsMax: 1 + this.random.below(4),
        pipelining: seed % 4 === 0 ? 1 + this.random.below(6) : 1,
        connectionIdleMaxMs: 20 + this.random.below(300),
        timeouts: { headTimeoutMs: 200, idleTimeoutMs: 100, totalTimeoutMs: 2000 },
      },
    );
  }

  onRequest(peer: RawPeer, request: RawRequest): void {
    if (peer.note !== '') {
      // Fine when it was sent before the client could know: that takes a few events of 1 ms, and
      // while a reader holds the response up, nothing behind it is seen either.
      const knownMs = Math.max(Number(peer.note), this.lastResumeMs);
      const lateMs = this.transport.clock.nowMs() - knownMs;
      if (this.origin.pipelining === 1) {
        assert.ok(lateMs < 30, `${request.target} came on a dirty connection, ${lateMs} ms late`);
      }
      return;
    }
    this.processed.set(request.target, (this.processed.get(request.target) ?? 0) + 1);
    const call = this.calls[Number(request.target.slice(1))]!;
    assert.equal(request.method, call.method);
    assert.equal(request.body, call.body, 'the request body arrived changed');
    const kind = this.faulty ? this.random.below(ANSWERS.length) : this.random.below(5);
    const again = ANSWERS[kind]!(peer, answerTo(request.target));
    if (!again) peer.note = String(this.transport.clock.nowMs());
    else if (this.faulty && this.random.below(12) === 0) {
      const delayMs = 1 + this.random.below(40);
      peer.server.timers.push(
        this.transport.clock.setTimer(() => {
          if (peer.note === '') peer.note = String(this.transport.clock.nowMs());
          peer.send('bytes nobody asked for');
        }, delayMs),
      );
    }
  }

  readonly handler: ExchangeHandler = {
    onHead(exchange) {
      const call = exchange.context as Call;
      call.heads++;
      assert.equal(call.ends + call.errors.length, 0, 'head after the end');
    },
    onBody(exchange, bytes, start, end) {
      const call = exchange.context as Call;
      assert.equal(call.heads, 1);
      assert.equal(call.ends + call.errors.length, 0, 'body after the end');
      call.received += Buffer.from(bytes.subarray(start, end)).toString('latin1');
    },
    onEnd(exchange) {
      (exchange.context as Call).ends++;
    },
    onError(exchange, error) {
      (exchange.context as Call).errors.push(error.code);
    },
    onDrain(exchange) {
      const call = exchange.context as Call;
      while (call.left.length > 0) exchange.write(Buffer.from(call.left.shift()!));
      exchange.endBody();
    },
  };

  request(): void {
    const { random } = this;
    const id = this.calls.length;
    const method = random.below(3) === 0 ? 'POST' : 'GET';
    const streamed = method === 'POST' && random.below(2) === 0;
    const pieces = streamed ? ['one', 'two', 'three'].slice(random.below(3)) : [];
    const body = streamed
      ? pieces.join('')
      : method === 'POST'
        ? 'p'.repeat(random.below(3000))
        : '';
    const call: Call = {
      id,
      method,
      body,
      received: '',
      heads: 0,
      ends: 0,
      errors: [],
      left: pieces,
    };
    this.calls.push(call);
    const exchange: Exchange = this.origin.dispatch(
      {
        method,
        target: `/${id}`,
        fields: noFields,
        body: streamed ? { length: random.below(2) === 0 ? null : body.length } : body || null,
      },
      this.handler,
      call,
    );
    const { clock } = this.transport;
    if (random.below(12) === 0) clock.setTimer(() => exchange.abort(), random.below(20));
    if (random.below(12) === 0) {
      exchange.pause();
      clock.setTimer(() => {
        this.lastResumeMs = clock.nowMs();
        exchange.resume();
      }, random.below(150));
    }
  }

  check(): void {
    for (const call of this.calls) {
      assert.equal(
        call.ends + call.errors.length,
        1,
        `/${call.id} ended ${call.ends}+${call.errors}`,
      );
      if (call.ends === 1) assert.equal(call.received, answerTo(`/${call.id}`), 'a wrong body');
      else
        assert.ok(answerTo(`/${call.id}`).startsWith(call.received), 'bytes of another response');
      const times = this.processed.get(`/${call.id}`) ?? 0;
      if (call.method === 'POST') assert.ok(times <= 1, `a POST was processed ${times} times`);
      if (!this.faulty && call.errors.length > 0 && this.transport.seed % 5 !== 0) {
        const allowed = ['ABORTED', 'CONNECT_REFUSED', 'QUEUE_TIMEOUT', 'TOTAL_TIMEOUT'];
        const clean = this.transport.seed % 7 === 0 ? allowed : ['ABORTED'];
        assert.ok(clean.includes(call.errors[0]!), `${call.errors[0]} from a server without fault`);
      }
    }
    const { active, connections } = this.origin.stats();
    assert.equal(active, 0, 'an exchange leaked');
    assert.equal(connections.opening + connections.busy + connections.idle, 0, 'a slot leaked');
    assert.equal(connections.waiting, 0, 'a waiter leaked');
  }
}

/** Runs one seed; throws what does not hold. */
export async function randomClientRun(seed: number): Promise<void> {
  const run = new Run(seed);
  await run.start(seed);
  const { clock } = run.transport;
  const bursts = 4 + run.random.below(5);
  for (let burst = 0; burst < bursts; burst++) {
    const count = 1 + run.random.below(6);
    for (let i = 0; i < count; i++) run.request();
    clock.advance(run.random.below(60));
    await null; // what was put off to the end of the tick
    clock.advance(run.random.below(120));
    await null;
  }
  // Everything ends by its deadlines, then idle connections retire by themselves.
  for (let i = 0; i < 200 && run.origin.stats().active > 0; i++) {
    clock.advance(20);
    await null;
  }
  clock.advance(3000);
  await null;
  clock.advance(3000);
  run.check();
  run.origin.destroy();
  await run.server.close();
  clock.advance(1000);
  assert.equal(run.transport.openSockets, 0, 'a socket leaked');
}
