/**
 * The server contract in a simulated network, and properties over many seeds: every exchange ends
 * once, responses keep the order of their requests, bytes come out as they went in, nothing leaks.
 * Replay one run with ONEHOP_SIM_SEED.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Exchange } from 'onehop/server';
import { createServer, noFields, unknownLength } from 'onehop/server';
import { WriteStatus } from 'onehop/transport';
import { createSimTransport } from 'onehop/transport/sim';
import { serverContract } from './server.contract.ts';
import { serverFaultContract } from './server-faults.contract.ts';
import { ByteClient, simRig } from './server-rig.ts';

/** Each case runs on several networks; the same ones every time, so that a failure comes again. */
for (const seed of [1, 2, 3, 4]) {
  serverContract(`sim with seed ${seed}`, () => simRig(createSimTransport({ seed })));
  serverFaultContract(`sim with seed ${seed}`, () => simRig(createSimTransport({ seed })));
}

/** A small generator, so that a run depends on its seed alone. */
function generator(seed: number): (below: number) => number {
  let state = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) | 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

interface Job {
  path: string;
  parts: Buffer[];
}

/** The body that the answer to `path` with `body` must have. */
const answerTo = (path: string, body: string): string => `${path}:${body.length}:${body}`;

/** Splits a stream of responses made by this file; throws on anything that is not one. */
function bodiesOf(raw: string): { bodies: string[]; rest: string } {
  const bodies: string[] = [];
  let at = 0;
  for (;;) {
    const headEnd = raw.indexOf('\r\n\r\n', at);
    if (headEnd < 0) break;
    const head = raw.slice(at, headEnd);
    if (/^HTTP\/1\.1 4\d\d /.test(head)) break; // what the network did to the request
    assert.match(head, /^HTTP\/1\.1 200 OK\r\n/);
    let next = headEnd + 4;
    const length = /\r\nContent-Length: (\d+)/.exec(head);
    let body = '';
    if (length !== null) {
      body = raw.slice(next, next + Number(length[1]));
      if (body.length < Number(length[1])) break;
      next += body.length;
    } else {
      let done = false;
      for (;;) {
        const lineEnd = raw.indexOf('\r\n', next);
        if (lineEnd < 0) break;
        const size = Number.parseInt(raw.slice(next, lineEnd), 16);
        if (raw.length < lineEnd + 4 + size) break;
        body += raw.slice(lineEnd + 2, lineEnd + 2 + size);
        next = lineEnd + 4 + size;
        if (size === 0) {
          done = true;
          break;
        }
      }
      if (!done) break;
    }
    bodies.push(body);
    at = next;
  }
  return { bodies, rest: raw.slice(at) };
}

class Run {
  readonly random: (below: number) => number;
  readonly sim;
  readonly rig;
  readonly server;
  requests = 0;
  finishes = 0;
  aborts = 0;
  errors: unknown[] = [];

  constructor(seed: number, hostile: boolean) {
    this.random = generator(seed);
    this.sim = createSimTransport({
      seed,
      ...(hostile ? { resetChance: 0.002, dropChance: 0.0005, refuseChance: 0.02 } : {}),
    });
    this.rig = simRig(this.sim);
    this.server = createServer<Job>({
      transport: this.sim,
      allowHalfOpen: this.random(2) === 0,
      timeouts: { requestBodyGapTimeoutMs: 2000, writeStallTimeoutMs: 3000 },
      limits: { readAheadBytesMax: 1 + this.random(2000) },
      handler: {
        onRequest: (exchange) => {
          this.requests++;
          exchange.state = { path: exchange.request.path, parts: [] };
        },
        onBody: (exchange, bytes, start, end) => {
          exchange.state!.parts.push(Buffer.from(bytes.subarray(start, end)));
          if (this.random(4) > 0) return;
          exchange.pause();
          this.sim.clock.setTimer(() => exchange.resume(), this.random(20));
        },
        onEnd: (exchange) => {
          const delayMs = this.random(3) * this.random(30);
          if (delayMs === 0) this.answer(exchange);
          else this.sim.clock.setTimer(() => this.answer(exchange), delayMs);
        },
        onAbort: () => {
          this.aborts++;
        },
        onFinish: () => {
          this.finishes++;
        },
        onError: (error) => {
          this.errors.push(error);
        },
      },
    });
  }

  private answer(exchange: Exchange<Job>): void {
    const { path, parts } = exchange.state!;
    const text = Buffer.from(answerTo(path, Buffer.concat(parts).toString('latin1')), 'latin1');
    const kind = this.random(3);
    if (kind === 0) {
      exchange.respond(200, noFields, text);
      return;
    }
    const first = exchange.start(200, noFields, kind === 1 ? text.length : unknownLength);
    if (first === WriteStatus.Closed) return;
    let at = 0;
    const more = (): void => {
      if (!exchange.writable) return;
      const end = Math.min(text.length, at + 1 + this.random(3000));
      if (end === text.length) {
        exchange.endWith(text, at, end);
        return;
      }
      exchange.write(text, at, end);
      at = end;
      this.sim.clock.setTimer(more, this.random(5));
    };
    more();
  }

  /** One caller: a few requests, pipelined or one by one, perhaps leaving in between. */
  async caller(port: number, id: number, mayLeave: boolean): Promise<string | null> {
    const client = new ByteClient();
    client.socket = this.sim.connect({ port }, ByteClient.handlers, client);
    const wanted: string[] = [];
    const count = 1 + this.random(6);
    const leavesAfter = mayLeave && this.random(3) === 0 ? this.random(count) : -1;
    for (let i = 0; i < count; i++) {
      const path = `/${id}-${i}`;
      const body = String.fromCharCode(97 + this.random(26)).repeat(
        this.random(4) * this.random(4000),
      );
      wanted.push(answerTo(path, body));
      client.send(`POST ${path} HTTP/1.1\r\nHost: s\r\n`);
      if (this.random(2) === 0) {
        client.send(`Content-Length: ${body.length}\r\n\r\n${body}`);
      } else {
        client.send('Transfer-Encoding: chunked\r\n\r\n');
        for (let at = 0; at < body.length; ) {
          const size = Math.min(body.length - at, 1 + this.random(2000));
          client.send(`${size.toString(16)}\r\n${body.slice(at, at + size)}\r\n`);
          at += size;
        }
        client.send('0\r\n\r\n');
      }
      if (i === leavesAfter) {
        await this.rig.until(() => false, this.random(50));
        if (this.random(2) === 0) client.end();
        else client.socket.destroy(this.random(2) === 0);
        break;
      }
      if (this.random(2) === 0) {
        const have = (): boolean => bodiesOf(client.text).bodies.length > i || client.closed;
        await this.rig.until(have, 20_000);
      }
    }
    await this.rig.until(
      () => client.ended || bodiesOf(client.text).bodies.length >= wanted.length,
      20_000,
    );
    const { bodies } = bodiesOf(client.text);
    const troubled = mayLeave || client.closed;
    client.socket.destroy();
    for (const [i, body] of bodies.entries()) {
      if (body !== wanted[i]) return `caller ${id}: answer ${i} is not the one to its request`;
    }
    if (!troubled && bodies.length !== wanted.length) {
      return `caller ${id}: ${bodies.length} answers, wanted ${wanted.length}`;
    }
    return null;
  }
}

async function runSeed(seed: number, hostile: boolean): Promise<void> {
  const run = new Run(seed, hostile);
  const listener = await run.server.listen({ port: 0 });
  const callers = Array.from({ length: 4 }, (_, id) => run.caller(listener.port, id, hostile));
  const reasons = await Promise.all(callers);
  const closing = run.server.close({ drainMs: 1000 });
  let closed = false;
  void closing.then(() => {
    closed = true;
  });
  await run.rig.until(() => closed, 20_000);
  await run.rig.until(() => run.sim.openSockets === 0, 20_000);
  const { counters } = run.server;
  const note = `seed ${seed}${hostile ? ', hostile' : ''}`;
  for (const reason of reasons) assert.equal(reason, null, note);
  assert.deepEqual(run.errors, [], note);
  assert.ok(closed, `${note}: close does not end`);
  assert.equal(run.finishes, run.requests, `${note}: onFinish is not exactly once`);
  assert.equal(counters.aborts, run.aborts, note);
  assert.equal(counters.exchangesOpen, 0, `${note}: exchanges leak`);
  assert.equal(counters.connectionsOpen, 0, `${note}: connections leak`);
  assert.equal(run.sim.openSockets, 0, `${note}: sockets leak`);
  if (hostile) return;
  assert.equal(run.aborts, 0, `${note}: aborts without a cause`);
  assert.equal(counters.protocolErrors, 0, `${note}: refused without a cause`);
}

const given = process.env['ONEHOP_SIM_SEED'];
const seeds = given === undefined ? Array.from({ length: 300 }, (_, i) => i + 1) : [Number(given)];

for (const hostile of [false, true]) {
  const weather = hostile ? 'resets, losses and callers that leave' : 'a sound network';
  test(`sim: ${seeds.length} seeds on ${weather}`, async () => {
    for (const seed of seeds) await runSeed(seed, hostile);
  });
}

test('sim: a server that mixes up two answers would be found', async () => {
  const original = answerTo('/0-0', 'abc');
  assert.notEqual(bodiesOf(`HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nxx`).bodies[0], original);
  const { bodies, rest } = bodiesOf('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort');
  assert.deepEqual(bodies, []);
  assert.notEqual(rest, '');
  assert.throws(() => bodiesOf('HTTP/1.1 500 Internal\r\n\r\n'));
});
