/**
 * The published request cases against a live server on the runtime that runs this file: a minimal
 * origin server that answers `ok` for Host `example.test` and 404 for any other. "Forwarded" means
 * that the handler saw exactly these requests, in order and whole.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createServer, type Exchange, fieldBlock, noFields, type Server } from 'onehop/server';
import type { Listener } from 'onehop/transport';
import { parseResponses, RawClient } from './raw-client.ts';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../../..');

interface Wanted {
  method: string;
  target: string;
  host?: string;
  body_base64?: string;
  framing?: string[];
  headers?: Record<string, string>;
  absent?: string[];
  interim?: number[];
  no_interim?: boolean;
  upgrade_not?: string;
  many?: number;
}
interface Outcome {
  reject?: number[];
  local?: number[];
  forward?: { upstream?: Wanted[]; client?: string[] };
}
interface Case {
  id: string;
  title: string;
  bytes_base64: string;
  segments?: [string, number][];
  no_early_response?: boolean;
  client_fin?: boolean;
  wait_ok?: boolean;
  expect: Outcome;
  also_ok?: Outcome;
  must_close: boolean | null;
  timed?: string;
  drip?: { every_ms: number; bytes_base64: string };
}

const cases = JSON.parse(readFileSync(join(root, 'test/corpus/requests.json'), 'utf8')) as Case[];
const untimed = cases.filter((entry) => entry.timed === undefined);

/** What only a proxy can decide. A listed case that this server does decide is an error too. */
const removal = 'removing the field is for whoever forwards the request; a server shows all it got';
const upgradeBody = 'an origin server may ignore Upgrade and read the body; refusing is a policy';
const gatewayOnly: Record<string, string> = {
  'RQ-164': removal,
  'RQ-165': removal,
  'RQ-166': removal,
  'RQ-167': removal,
  'RQ-175': 'the canonical length is written on the way out; a server shows the one it got',
  'RQ-382': removal,
  'RQ-384': removal,
  'RQ-385': 'forwarding fields are added by whoever forwards the request',
  'RQ-386': 'forwarding fields are added by whoever forwards the request',
  'RQ-391': removal,
  'RQ-395': 'Max-Forwards is counted down by whoever forwards the request',
  'RQ-414': removal,
  'RQ-415': removal,
  'RQ-416': removal,
  'RQ-418': upgradeBody,
  'RQ-419': upgradeBody,
  'RQ-421': removal,
};

interface Seen {
  method: string;
  target: string;
  host: string;
  framing: string;
  fields: [string, string][];
  body: Buffer[];
  complete: boolean;
  answered: boolean;
}

const framingNames = ['none', 'content-length', 'chunked'];
const allow = fieldBlock(['Allow', 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS']);

/** Requests by the remote port's stand-in: the handler is told which client it serves by a field. */
class Origin {
  server: Server;
  listener: Listener | null = null;
  /** Everything the handler saw since the last `take`, by connection. */
  readonly seen = new Map<Exchange<Seen>, Seen>();

  constructor(timeouts: Record<string, number>) {
    this.server = createServer<Seen>({
      timeouts,
      allowHalfOpen: true,
      handler: {
        onRequest: (exchange) => this.onRequest(exchange),
        onBody: (exchange, bytes, start, end) => {
          exchange.state?.body.push(Buffer.from(bytes.subarray(start, end)));
        },
        onEnd: (exchange) => {
          exchange.state!.complete = true;
          exchange.respond(200, noFields, 'ok');
        },
        onAbort: () => {},
      },
    });
  }

  private onRequest(exchange: Exchange<Seen>): void {
    const head = exchange.request;
    if (head.authority.toLowerCase() !== 'example.test' && head.versionMinor === 1) {
      exchange.respond(404, noFields, 'no route');
      return;
    }
    const { method } = head;
    if (method === 'CONNECT' || method === 'TRACE') {
      exchange.closeAfter();
      exchange.respond(405, allow, 'not here');
      return;
    }
    const fields: [string, string][] = [];
    head.forEach((name, value) => {
      fields.push([name.toLowerCase(), value]);
    });
    exchange.state = {
      method,
      target: head.path,
      host: head.authority,
      framing: framingNames[head.framing]!,
      fields,
      body: [],
      complete: false,
      answered: false,
    };
    this.seen.set(exchange, exchange.state);
  }

  async listen(): Promise<number> {
    this.listener = await this.server.listen({ port: 0 });
    return this.listener.port;
  }

  take(): Seen[] {
    const seen = [...this.seen.values()];
    this.seen.clear();
    return seen;
  }
}

interface Run {
  seen: Seen[];
  statuses: number[];
  interim: number[];
  ended: boolean;
  early: boolean;
}

function piecesOf(entry: Case, split: boolean): [Buffer, number][] {
  const segments = entry.segments ?? [[entry.bytes_base64, 0]];
  const pieces: [Buffer, number][] = [];
  for (const [text, delayMs] of segments) {
    const bytes = Buffer.from(text, 'base64');
    if (!split || bytes.length < 2) {
      pieces.push([bytes, delayMs]);
      continue;
    }
    // Single bytes where that is affordable, otherwise 40 pieces.
    const step = bytes.length <= 300 ? 1 : Math.ceil(bytes.length / 40);
    for (let at = 0; at < bytes.length; at += step) {
      pieces.push([bytes.subarray(at, at + step), at === 0 ? delayMs : 0]);
    }
  }
  return pieces;
}

function isHeadList(entry: Case): boolean[] {
  const text = Buffer.from(entry.bytes_base64, 'base64').toString('latin1');
  return [...text.matchAll(/(?:^|\r\n)([A-Z]+) \S+ HTTP\/1\.[01]\r\n/g)].map(
    (match) => match[1] === 'HEAD',
  );
}

/** How many final responses a well-behaved end of this case shows, to know when to stop waiting. */
function finalsWanted(entry: Case): number {
  const forward = entry.expect.forward;
  if (forward === undefined) return 1;
  const many = forward.upstream?.[0]?.many;
  return many ?? forward.client?.length ?? 1;
}

async function runCase(origin: Origin, port: number, entry: Case, split: boolean): Promise<Run> {
  const client = await RawClient.open(port);
  let early = false;
  for (const [bytes, delayMs] of piecesOf(entry, split)) {
    if (delayMs > 0) await new Promise((resolve) => setTimeout(resolve, Math.min(delayMs, 60)));
    if (client.ended) break;
    if (entry.no_early_response && client.received.length > 0) early = true;
    await client.sendPieces([bytes]);
  }
  if (entry.client_fin) client.socket.end();
  const heads = isHeadList(entry);
  const finals = (): number[] =>
    parseResponses(client.text, heads)
      .map(({ status }) => status)
      .filter((status) => status >= 200);
  const wanted = finalsWanted(entry);
  await client.until(
    () => client.ended || finals().length >= wanted,
    // Those that may be left without an answer are what there is to wait for.
    entry.wait_ok === true ? 300 : 20_000,
  );
  if (!client.ended) await client.untilEnd(entry.must_close === true ? 20_000 : 30);
  const responses = parseResponses(client.text, heads);
  const { ended } = client;
  client.close();
  return {
    seen: origin.take().filter(({ complete }) => complete),
    statuses: responses.map(({ status }) => status).filter((status) => status >= 200),
    interim: responses.map(({ status }) => status).filter((status) => status < 200),
    ended,
    early,
  };
}

function requestDiffers(want: Wanted, got: Seen): string {
  if (got.method !== want.method) return `method ${got.method}`;
  if (got.target !== want.target) return `target ${got.target.slice(0, 40)}`;
  if (want.host !== undefined && got.host.toLowerCase() !== want.host) return `host ${got.host}`;
  const body = Buffer.from(want.body_base64 ?? '', 'base64');
  if (!Buffer.concat(got.body).equals(body)) return 'the body differs';
  if (want.framing !== undefined && !want.framing.includes(got.framing)) return got.framing;
  for (const [name, value] of Object.entries(want.headers ?? {})) {
    const joined = got.fields
      .filter(([key]) => key === name)
      .map(([, text]) => text)
      .join(', ');
    const fits = value.startsWith('re:')
      ? new RegExp(value.slice(3)).test(joined)
      : joined === value;
    if (!fits) return `${name} is ${JSON.stringify(joined)}`;
  }
  const present = (want.absent ?? []).find((name) => got.fields.some(([key]) => key === name));
  if (present !== undefined) return `${present} is there`;
  return '';
}

function outcomeDiffers(outcome: Outcome, run: Run): string {
  const closed = outcome.reject ?? outcome.local;
  if (closed !== undefined) {
    if (run.seen.length > 0) return `the handler saw ${run.seen[0]!.method} ${run.seen[0]!.target}`;
    const status = run.statuses[0];
    if (status === undefined) {
      return closed.includes(0) && run.ended ? '' : 'no answer';
    }
    return closed.includes(status) ? '' : `status ${status}, wanted ${closed}`;
  }
  const { upstream, client } = outcome.forward!;
  if (upstream === undefined) {
    return run.seen.length === 1 && run.statuses[0] === 200 ? '' : 'not handed over';
  }
  const count = upstream[0]!.many ?? upstream.length;
  if (run.seen.length !== count) {
    return `${run.seen.length} requests, wanted ${count} (statuses ${run.statuses.slice(0, 5)})`;
  }
  for (const [i, want] of upstream.entries()) {
    const reason = requestDiffers(want, run.seen[i]!);
    if (reason !== '') return reason;
    if (want.no_interim && run.interim.length > 0) return 'an interim response to HTTP/1.0';
    for (const status of want.interim ?? []) {
      if (!run.interim.includes(status)) return `no interim ${status}`;
    }
  }
  if (upstream[0]!.many !== undefined) return run.statuses.length === count ? '' : 'answers lost';
  if (client !== undefined) {
    if (client.length !== run.statuses.length) return `statuses ${run.statuses}`;
    for (const [i, want] of client.entries()) {
      const status = `${run.statuses[i]}`;
      const fits = want.endsWith('xx') ? status[0] === want[0] : want === 'any' || status === want;
      if (!fits) return `status ${status}, wanted ${want}`;
    }
  }
  return '';
}

function judge(entry: Case, run: Run): string {
  if (run.early) return 'answered before the request was complete';
  if (run.seen.some(({ target }) => target.includes('/evil'))) {
    const wanted = entry.expect.forward?.upstream?.some(({ target }) => target.includes('/evil'));
    if (!wanted) return 'UNSAFE: the handler saw /evil';
  }
  let reason = outcomeDiffers(entry.expect, run);
  if (reason !== '' && entry.also_ok !== undefined) {
    if (outcomeDiffers(entry.also_ok, run) === '') reason = '';
  }
  if (reason !== '' && entry.wait_ok && run.seen.length === 0 && run.statuses.length === 0) {
    return '';
  }
  if (reason === '' && entry.must_close === true && !run.ended) return 'the connection stays open';
  return reason;
}

const lanes = 8;
let origins: { origin: Origin; port: number }[] = [];

before(async () => {
  for (let i = 0; i < lanes; i++) {
    const origin = new Origin({});
    origins.push({ origin, port: await origin.listen() });
  }
});

after(async () => {
  await Promise.all(origins.map(({ origin }) => origin.server.close({ drainMs: 0 })));
  origins = [];
});

/** Runs all cases, one at a time per server, so that what a handler saw belongs to one case. */
async function runAll(split: boolean): Promise<Map<string, string>> {
  const reasons = new Map<string, string>();
  const queue = [...untimed];
  await Promise.all(
    origins.map(async ({ origin, port }) => {
      for (let entry = queue.shift(); entry !== undefined; entry = queue.shift()) {
        reasons.set(entry.id, judge(entry, await runCase(origin, port, entry, split)));
      }
    }),
  );
  return reasons;
}

for (const split of [false, true]) {
  const how = split ? 'in pieces' : 'whole';
  test(`every published request case sent ${how} is decided rightly or listed`, async () => {
    const wrong: string[] = [];
    let decided = 0;
    for (const [id, reason] of await runAll(split)) {
      const entry = untimed.find((one) => one.id === id)!;
      if (gatewayOnly[id] !== undefined) {
        if (reason === '') wrong.push(`${id} is listed but the server decides it`);
        if (reason.startsWith('UNSAFE')) wrong.push(`${id}: ${reason}`);
      } else if (reason !== '') wrong.push(`${id} ${entry.title}: ${reason}`);
      else decided++;
    }
    assert.deepEqual(wrong, []);
    assert.equal(decided + Object.keys(gatewayOnly).length, untimed.length);
    for (const { origin } of origins) assert.equal(origin.server.counters.exchangesOpen, 0);
  });
}

const short = {
  firstRequestTimeoutMs: 400,
  requestHeadTimeoutMs: 300,
  requestBodyGapTimeoutMs: 200,
  requestBodyGraceMs: 300,
  requestBodyBytesPerSecondMin: 500,
  keepAliveTimeoutMs: 200,
  lingerTimeoutMs: 200,
};

for (const entry of cases.filter(({ timed }) => timed !== undefined)) {
  test(`timed: ${entry.id} ${entry.title}`, async () => {
    const origin = new Origin(short);
    const port = await origin.listen();
    const startMs = performance.now();
    const client = await RawClient.open(port);
    try {
      const bytes = Buffer.from(entry.bytes_base64, 'base64');
      if (bytes.length > 0) await client.sendPieces([bytes]);
      const drip = entry.drip === undefined ? null : Buffer.from(entry.drip.bytes_base64, 'base64');
      // The published pace is for limits of seconds; ours are 30 times as short.
      const timer = setInterval(() => {
        if (drip !== null && !client.ended) client.send(drip);
      }, 30);
      // Less than the shortest of the limits as shipped.
      const ended = await client.untilEnd(8000);
      clearInterval(timer);
      assert.ok(ended, 'the connection stays open');
      const elapsedMs = performance.now() - startMs;
      assert.ok(elapsedMs > 150, `closed after ${elapsedMs} ms already`);
      const statuses = parseResponses(client.text).map(({ status }) => status);
      const seen = origin.take().filter(({ complete }) => complete);
      if (entry.expect.reject !== undefined) {
        assert.equal(seen.length, 0);
        if (statuses.length > 0)
          assert.ok(entry.expect.reject.includes(statuses[0]!), `${statuses}`);
      } else {
        assert.deepEqual(statuses, [200]);
        assert.equal(seen.length, 1);
      }
    } finally {
      client.close();
      await origin.server.close({ drainMs: 0 });
    }
  });
}
