/**
 * Every fault of the stand-in x method, as docs/reference/faults.md says: that page is the table of
 * expectations. The first target has the fault, the second is healthy; the counters of both prove
 * that nothing is lost or done twice.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { FAULTS, parseFault, startPlainService } from '@onehop/mock';
import { accessLine } from 'onehop/gateway';
import { parseFirstResponse } from './conformance.ts';
import { pause, simple, until, withGateway } from './gateway-rig.ts';
import { RawClient } from './raw-client.ts';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../../..');

const bodyBytes = 100_000;
const chunks = `${(20_000).toString(16)}\r\n${'x'.repeat(20_000)}\r\n`.repeat(5);
const requests: Record<string, string> = {
  GET: 'GET / HTTP/1.1\r\nHost: t\r\n\r\n',
  'POST small': 'POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello',
  'POST streamed': `POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}0\r\n\r\n`,
  PUT: 'PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello',
};

interface Row {
  fault: string;
  method: string;
  /** What the caller gets: status, `cut` when it can tell that the body is incomplete. */
  caller: string;
  /** Of the line in the access log; `-` for what it does not have. */
  log: string;
  /** Requests that reached the faulty and the healthy target. */
  faulty: number;
  healthy: number;
}

const cells = (row: Row): string =>
  `| ${row.fault} | ${row.method} | ${row.caller} | ${row.log} | ${row.faulty} | ${row.healthy} |`;

/** The columns of the page that come from the access log, after checks of what is in none. */
function logCells(line: Record<string, unknown>, ports: readonly number[], what: string): string {
  const of = (name: string): unknown => line[name];
  const text = (name: string): string => String(of(name) ?? '-');
  const targets = ports.map((port) => `http://127.0.0.1:${port}`);
  const target = ['first', 'second'][targets.indexOf(String(of('target')))];
  assert.notEqual(target, undefined, `${what}: the line names no target`);
  assert.equal(of('upstream'), 'up', what);
  assert.equal(of('route'), '/*', what);
  assert.equal(of('cancelled'), false, what);
  assert.equal(typeof of('reason'), of('error') === null ? 'object' : 'string', what);
  assert.equal(of('side'), of('error') === null ? null : 'upstream', what);
  // libuv reports a reset that comes together with the bytes before it as an end (see the page).
  const resetBehindBytes = /^reset-(in-head|after-head|in-body) /.test(what);
  const code = (name: unknown): unknown =>
    resetBehindBytes && name === 'UPSTREAM_TRUNCATED' ? 'UPSTREAM_RESET' : name;
  line['error'] = code(of('error'));
  const retriedFor = (of('retriedFor') as string[] | null)?.map(code).join(' ') ?? '-';
  return [
    text('status'),
    text('upstreamStatus'),
    text('error'),
    text('phase'),
    text('attempts'),
    target,
    retriedFor,
    text('notRetried'),
  ].join(' | ');
}

/** Rows of the page's table, as they are written there. */
function documented(): string[] {
  const page = readFileSync(join(root, 'docs/reference/faults.md'), 'utf8');
  return page.split('\n').filter((line) => /^\| [a-z-]+ \| (GET|POST|PUT)/.test(line));
}

async function run(fault: string, method: string): Promise<Row> {
  const bad = await startPlainService({ fault: parseFault(fault) });
  const good = await startPlainService({});
  const lines: Record<string, unknown>[] = [];
  let caller = '';
  const input = simple([bad.port, good.port], {
    balance: 'round-robin',
    timeouts: { connect: 10_000, head: 1500, firstByte: 1500, idle: 1500, total: 60_000 },
  });
  await withGateway(
    input,
    async (rig) => {
      const client = await RawClient.open(rig.port);
      client.send(requests[method]!);
      const response = () => parseFirstResponse(client.received, false);
      assert.ok(
        await client.until(() => client.ended || response()?.complete === true, 30_000),
        `${fault} ${method}: the caller is left without an end`,
      );
      const got = response();
      assert.notEqual(got, null, `${fault} ${method}: no answer`);
      caller = `${got!.status}${got!.complete === true ? '' : ' cut'}`;
      client.close();
      // Idle connections that misbehave must not hurt whoever comes next.
      await pause(80);
      const next = await RawClient.open(rig.port);
      next.send('GET /_onehop/upstream/ HTTP/1.1\r\nHost: t\r\n\r\n');
      assert.ok(await next.untilText('"requests"'), `${fault} ${method}: the next request failed`);
      next.close();
    },
    { onFinish: (exchange) => lines.push(JSON.parse(accessLine(exchange, 1))) },
  );
  // The second exchange is the follow-up; it is not counted by the stand-ins.
  assert.equal(lines[1]!['error'], null, `${fault} ${method}: the request after it`);
  await until(() => bad.counters().connectionsOpen === 0);
  const faulty = bad.counters();
  const healthy = good.counters();
  assert.equal(faulty.requestsPartial + healthy.requestsPartial, 0, `${fault} ${method}: half`);
  const bytes = faulty.requestBodyBytes + healthy.requestBodyBytes;
  const each = method === 'GET' ? 0 : method === 'POST streamed' ? bodyBytes : 5;
  assert.equal(bytes, each * (faulty.requests + healthy.requests), `${fault} ${method}: body`);
  await bad.close();
  await good.close();
  return {
    fault,
    method,
    caller,
    log: logCells(lines[0]!, [bad.port, good.port], `${fault} ${method}`),
    faulty: faulty.requests,
    healthy: healthy.requests,
  };
}

test('every fault x method: status, retry and code are as documented', async () => {
  const jobs = Object.keys(FAULTS).flatMap((fault) =>
    Object.keys(requests).map((method): [string, string] => [fault, method]),
  );
  const rows = new Map<string, string>();
  const queue = [...jobs];
  await Promise.all(
    Array.from({ length: 8 }, async () => {
      for (let job = queue.shift(); job !== undefined; job = queue.shift()) {
        rows.set(job.join(), cells(await run(...job)));
      }
    }),
  );
  assert.deepEqual(
    jobs.map((job) => rows.get(job.join())),
    documented(),
  );
});
