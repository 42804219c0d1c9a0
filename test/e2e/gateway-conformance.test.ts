/**
 * Every published case, requests and responses, through a live gateway on the runtime that runs this
 * file: a strict recording upstream behind it for requests, a scripted hostile one for responses.
 */
import assert from 'node:assert/strict';
import { createServer, type Server, type Socket } from 'node:net';
import { after, before, test } from 'node:test';
import { loadJson } from '../corpus/load.ts';
import {
  judgeRequest,
  judgeResponse,
  parseFirstResponse,
  type RequestCase,
  type RequestRun,
  type ResponseCase,
  type ResponseRun,
} from './conformance.ts';
import {
  assertGaugesZero,
  type GatewayInput,
  pause,
  type Rig,
  startGateway,
} from './gateway-rig.ts';
import { parseResponses, RawClient } from './raw-client.ts';
import { StrictUpstream } from './strict-upstream.ts';

const requests = loadJson<RequestCase[]>('requests.json');
const responses = loadJson<ResponseCase[]>('responses.json');

const base64 = (text: string): Buffer => Buffer.from(text, 'base64');

/** One route, Host example.test, everything else unrouted: the set-up that the cases assume. */
function configFor(
  port: number,
  limits: Record<string, unknown> = {},
  upstream = {},
): GatewayInput {
  return {
    upstreams: { up: { targets: [`http://127.0.0.1:${port}`], ...upstream } },
    routes: [{ host: 'example.test', path: '/*', upstream: 'up' }],
    limits,
  } as GatewayInput;
}

// ---- Requests ---------------------------------------------------------------------------------

interface Lane {
  upstream: StrictUpstream;
  rig: Rig;
}
const laneCount = 8;
const lanes: Lane[] = [];

before(async () => {
  for (let i = 0; i < laneCount; i++) {
    const upstream = new StrictUpstream();
    await upstream.listen();
    // A route's bodies and heads are bounded as shipped; the cases know those bounds.
    lanes.push({ upstream, rig: await startGateway(configFor(upstream.port)) });
  }
});

after(async () => {
  for (const { upstream, rig } of lanes) {
    await rig.close();
    await upstream.close();
  }
});

function piecesOf(entry: RequestCase, split: boolean): [Buffer, number][] {
  const segments = entry.segments ?? [[entry.bytes_base64, 0]];
  if (!split) return segments.map(([text, delayMs]) => [base64(text), delayMs]);
  return segments.flatMap(([text, delayMs]) => {
    const bytes = base64(text);
    // Single bytes where that is affordable, otherwise 40 pieces.
    const step = bytes.length <= 300 ? 1 : Math.ceil(bytes.length / 40);
    const pieces: [Buffer, number][] = [];
    for (let at = 0; at < bytes.length; at += step) {
      pieces.push([bytes.subarray(at, at + step), at === 0 ? delayMs : 0]);
    }
    return pieces;
  });
}

function finalsWanted({ expect }: RequestCase): number {
  const forward = expect.forward;
  return forward === undefined ? 1 : (forward.upstream?.[0]?.many ?? forward.client?.length ?? 1);
}

async function runRequest(lane: Lane, entry: RequestCase, split: boolean): Promise<RequestRun> {
  lane.upstream.take();
  lane.upstream.malformed.length = 0;
  const client = await RawClient.open(lane.rig.port);
  let early = false;
  for (const [bytes, delayMs] of piecesOf(entry, split)) {
    if (delayMs > 0) await pause(Math.min(delayMs, 60));
    if (client.ended) break;
    if (entry.no_early_response && client.received.length > 0) early = true;
    await client.sendPieces([bytes]);
  }
  if (entry.client_fin) client.socket.end();
  const text = base64(entry.bytes_base64).toString('latin1');
  const heads = [...text.matchAll(/(?:^|\r\n)([A-Z]+) \S+ HTTP\/1\.[01]\r\n/g)].map(
    (match) => match[1] === 'HEAD',
  );
  const statuses = (): number[] => parseResponses(client.text, heads).map(({ status }) => status);
  const wanted = finalsWanted(entry);
  await client.until(
    () => client.ended || statuses().filter((status) => status >= 200).length >= wanted,
    // Those that may be left without an answer are what there is to wait for.
    entry.wait_ok === true ? 300 : 20_000,
  );
  // A request smuggled behind this one would reach the upstream now.
  if (!client.ended) await client.untilEnd(entry.must_close === true ? 20_000 : 20);
  const all = statuses();
  const { ended } = client;
  client.close();
  return {
    seen: lane.upstream.take(),
    malformed: lane.upstream.malformed.splice(0),
    statuses: all.filter((status) => status >= 200),
    interim: all.filter((status) => status < 200),
    ended,
    early,
  };
}

const untimed = requests.filter(({ timed }) => timed === undefined);

for (const split of [false, true]) {
  test(`every request case, ${split ? 'in pieces' : 'whole'}, is forwarded or refused rightly`, async () => {
    const queue = [...untimed];
    const wrong: string[] = [];
    let passed = 0;
    let alt = 0;
    await Promise.all(
      lanes.map(async (lane) => {
        for (let entry = queue.shift(); entry !== undefined; entry = queue.shift()) {
          const verdict = judgeRequest(entry, await runRequest(lane, entry, split));
          if (verdict === 'pass') passed++;
          else if (verdict === 'alt') alt++;
          else wrong.push(`${entry.id} ${entry.title}: ${verdict}`);
        }
      }),
    );
    assert.deepEqual(wrong, []);
    assert.equal(passed + alt, untimed.length);
    assert.ok(untimed.length >= 339, `${untimed.length} cases`);
    for (const { rig } of lanes) await assertGaugesZero(rig.gateway);
  });
}

/** The published cases speak of seconds; the limits here are some 30 times as short. */
const short = {
  firstRequest: 400,
  headTime: 300,
  bodyGap: 200,
  bodyGrace: 300,
  bodyRate: 500,
  keepAlive: 200,
};

for (const entry of requests.filter(({ timed }) => timed !== undefined)) {
  test(`timed: ${entry.id} ${entry.title}`, async () => {
    const upstream = new StrictUpstream();
    await upstream.listen();
    const rig = await startGateway(configFor(upstream.port, short));
    const startMs = performance.now();
    const client = await RawClient.open(rig.port);
    try {
      const bytes = base64(entry.bytes_base64);
      if (bytes.length > 0) await client.sendPieces([bytes]);
      const drip = entry.drip === undefined ? null : base64(entry.drip.bytes_base64);
      const timer = setInterval(() => {
        if (drip !== null && !client.ended) client.send(drip);
      }, 30);
      // Less than the shortest of the limits as shipped.
      const ended = await client.untilEnd(8000);
      clearInterval(timer);
      assert.ok(ended, 'the connection stays open');
      assert.ok(performance.now() - startMs > 150, 'closed before any limit');
      const statuses = parseResponses(client.text).map(({ status }) => status);
      const run: RequestRun = {
        seen: upstream.take(),
        malformed: upstream.malformed,
        statuses,
        interim: [],
        ended,
        early: false,
      };
      assert.equal(judgeRequest(entry, run), 'pass');
    } finally {
      client.close();
      await rig.close();
      await upstream.close();
    }
  });
}

// ---- Responses --------------------------------------------------------------------------------

const followUp = Buffer.from('GET / HTTP/1.1\r\nHost: example.test\r\n\r\n');

/** Sends the bytes of one case, then behaves. */
class HostileUpstream {
  entry: ResponseCase | null = null;
  /** The case's own request is being served; afterwards every answer is `follow`. */
  scripted = true;
  attempts = 0;
  scriptConnection = 0;
  followConnection = 0;
  port = 0;
  private connections = 0;
  private readonly sockets = new Set<Socket>();
  private readonly server: Server;

  constructor() {
    this.server = createServer({ noDelay: true, allowHalfOpen: true }, (socket) => {
      this.sockets.add(socket);
      socket.on('close', () => this.sockets.delete(socket));
      socket.on('error', () => {});
      socket.on('end', () => socket.end());
      const id = ++this.connections;
      const { entry } = this;
      if (entry?.on_connect && this.scripted) socket.write(base64(entry.bytes_base64));
      let text = '';
      socket.on('data', (bytes) => {
        text += (bytes as Buffer).toString('latin1');
        for (;;) {
          const rest = requestEnd(text, this.entry?.early === true && this.scripted);
          if (rest < 0) return;
          text = text.slice(rest);
          void this.serve(socket, id);
        }
      });
    });
  }

  private async serve(socket: Socket, id: number): Promise<void> {
    if (!this.scripted) {
      this.followConnection = id;
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nfollow');
      return;
    }
    const entry = this.entry!;
    this.attempts++;
    this.scriptConnection = id;
    if (entry.always_fin || (entry.stale_pool && this.attempts === 1)) {
      socket.end();
      return;
    }
    if (entry.stale_pool) {
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      return;
    }
    if (!entry.on_connect) socket.write(base64(entry.bytes_base64));
    if (entry.drip !== undefined) this.drip(socket, entry);
    if (entry.rst) {
      await pause(50);
      socket.resetAndDestroy();
    } else if (entry.upstream_fin) {
      await pause(20);
      socket.end();
    } else if (entry.idle_bytes_base64 !== undefined) {
      await pause(60);
      socket.write(base64(entry.idle_bytes_base64));
    }
  }

  private drip(socket: Socket, entry: ResponseCase): void {
    const bytes = base64(entry.drip!.bytes_base64);
    const timer = setInterval(() => {
      if (socket.destroyed || this.entry !== entry) clearInterval(timer);
      else socket.write(bytes);
    }, entry.drip!.every_ms / 30);
    socket.on('close', () => clearInterval(timer));
  }

  async listen(): Promise<void> {
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    this.port = (this.server.address() as { port: number }).port;
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()));
    for (const socket of this.sockets) socket.destroy();
    await closed;
  }
}

/** Where the first request of `text` ends; -1 while it is not complete. */
function requestEnd(text: string, headOnly: boolean): number {
  const end = text.indexOf('\r\n\r\n');
  if (end < 0) return -1;
  const head = text.slice(0, end);
  if (headOnly) return text.length;
  const length = /\r\ncontent-length:\s*(\d+)/i.exec(head);
  if (length !== null) {
    const total = end + 4 + Number(length[1]);
    return text.length >= total ? total : -1;
  }
  if (!/\r\ntransfer-encoding:/i.test(head)) return end + 4;
  const last = text.indexOf('0\r\n\r\n', end);
  return last < 0 ? -1 : last + 5;
}

/** The answer; `waitMs` is for what comes behind its head, which nothing may ever end. */
async function ask(
  port: number,
  bytes: Buffer,
  waitMs: number,
  isEnough: (text: string) => boolean = () => false,
): Promise<Buffer> {
  const client = await RawClient.open(port);
  client.send(bytes);
  const isHead = bytes.toString('latin1', 0, 5) === 'HEAD ';
  await client.until(
    () => client.ended || parseFirstResponse(client.received, isHead) !== null,
    20_000,
  );
  await client.until(() => {
    if (client.ended || isEnough(client.text)) return true;
    const got = parseFirstResponse(client.received, isHead);
    return got !== null && got.complete === true && got.status !== 101;
  }, waitMs);
  // Surplus bytes would follow at once.
  if (!client.ended) await client.untilEnd(20);
  const { received } = client;
  client.close();
  return received;
}

/** A fresh gateway for every case: no connection of another case is in its pool. */
async function runResponse(
  entry: ResponseCase,
  timeouts: Record<string, number> = {},
  waitMs = 1200,
  isEnough?: (text: string) => boolean,
): Promise<{ run: ResponseRun; attempts: number; elapsedMs: number }> {
  const upstream = new HostileUpstream();
  await upstream.listen();
  const rig = await startGateway(configFor(upstream.port, {}, { timeouts }));
  try {
    upstream.entry = entry;
    if (entry.stale_pool) {
      upstream.scripted = false;
      await ask(rig.port, followUp, 15_000);
      upstream.scripted = true;
    }
    const bytes =
      entry.client_request_base64 === undefined ? followUp : base64(entry.client_request_base64);
    const startMs = performance.now();
    const raw = await ask(rig.port, bytes, waitMs, isEnough);
    const elapsedMs = performance.now() - startMs;
    await pause(entry.idle_bytes_base64 === undefined ? 5 : 120);
    upstream.scripted = false;
    const after = await ask(rig.port, followUp, 15_000);
    const { scriptConnection, followConnection, attempts } = upstream;
    const run = {
      raw,
      isHead: bytes.toString('latin1', 0, 5) === 'HEAD ',
      followUp: after,
      reused: followConnection !== 0 && followConnection === scriptConnection,
    };
    await rig.close();
    return { run, attempts, elapsedMs };
  } finally {
    await rig.gateway.close({ graceMs: 0, announceMs: 0 });
    await upstream.close();
  }
}

const plain = responses.filter(({ timed, refuse }) => timed === undefined && !refuse);

test('every response case reaches the caller rightly, and no one else', async () => {
  const queue = [...plain];
  const wrong: string[] = [];
  let passed = 0;
  await Promise.all(
    Array.from({ length: 8 }, async () => {
      for (let entry = queue.shift(); entry !== undefined; entry = queue.shift()) {
        const { run, attempts } = await runResponse(entry);
        const verdict = judgeResponse(entry, run);
        if (verdict !== 'pass' && verdict !== 'alt') {
          wrong.push(`${entry.id} ${entry.title}: ${verdict}`);
        } else if (attempts > 2) wrong.push(`${entry.id}: ${attempts} attempts`);
        else passed++;
      }
    }),
  );
  assert.deepEqual(wrong, []);
  assert.equal(passed, plain.length);
  assert.ok(plain.length >= 99, `${plain.length} cases`);
});

/** Deadlines in the ratio of the published ones, a tenth as long. */
const timedTimeouts: Record<string, Record<string, number>> = {
  upstream_header_timeout: { head: 300 },
  upstream_idle_timeout: { idle: 200, firstByte: 200 },
  stream: { idle: 30_000 },
};

for (const entry of responses.filter(({ timed }) => timed !== undefined)) {
  test(`timed: ${entry.id} ${entry.title}`, async () => {
    const timeouts = timedTimeouts[entry.timed!]!;
    const withinMs = entry.expect.forward?.first_bytes_within_ms;
    if (withinMs === undefined) {
      const { run, elapsedMs } = await runResponse(entry, timeouts, 20_000);
      assert.equal(judgeResponse(entry, run), 'pass');
      // Not over is 20 s: the deadlines as shipped are minutes.
      assert.ok(elapsedMs > 150 && elapsedMs < 15_000, `over after ${elapsedMs} ms`);
      return;
    }
    // Its first bytes are here while nothing follows them: they waited for nothing.
    const isFirst = (text: string): boolean => text.includes('data: 1\n\n');
    const { run } = await runResponse(entry, timeouts, withinMs, isFirst);
    assert.equal(judgeResponse(entry, run), 'pass');
    assert.ok(isFirst(run.raw.toString('latin1')), 'the first event is held back');
  });
}

test('RS-120 a refused connection is answered at once, without a storm of retries', async () => {
  const entry = responses.find(({ refuse }) => refuse)!;
  const upstream = new HostileUpstream();
  await upstream.listen();
  const { port } = upstream;
  await upstream.close();
  const rig = await startGateway(configFor(port));
  const startMs = performance.now();
  const raw = await ask(rig.port, followUp, 2000);
  // Before the deadline of a connect could have ended it.
  assert.ok(performance.now() - startMs < 5000);
  assert.ok(entry.expect.reject!.includes(parseFirstResponse(raw, false)!.status));
  assert.equal(
    [...rig.gateway.tables.upstreams.values()][0]!.members[0]!.origin.stats().retries,
    0,
  );
  await rig.close();
});

test('the verdicts can fail: a wrong request, a wrong status, a leaked response', async () => {
  const refused = requests.find(({ expect }) => expect.reject?.includes(400))!;
  const evil = {
    method: 'GET',
    target: '/evil',
    version: '1.1',
    fields: [],
    body: Buffer.alloc(0),
    framing: 'none' as const,
    trailers: [],
  };
  const run: RequestRun = {
    seen: [evil],
    malformed: [],
    statuses: [400],
    interim: [],
    ended: true,
    early: false,
  };
  assert.match(judgeRequest(refused, run), /^UNSAFE/);
  assert.match(judgeRequest(refused, { ...run, seen: [], statuses: [200] }), /status 200/);
  assert.match(judgeRequest(refused, { ...run, seen: [], malformed: ['x'] }), /^UNSAFE/);
  assert.equal(judgeRequest(refused, { ...run, seen: [] }), 'pass');
  const answered = plain.find(({ expect }) => expect.forward?.status === 200)!;
  const good = 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nfollow';
  const hidden: ResponseRun = {
    raw: Buffer.from('HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n'),
    isHead: false,
    followUp: Buffer.from(good),
    reused: false,
  };
  assert.match(judgeResponse(answered, hidden), /status 500/);
  const leaked = { ...hidden, followUp: Buffer.from(good.replace('follow', 'EVIL!!')) };
  assert.match(judgeResponse(answered, leaked), /^UNSAFE/);
});
