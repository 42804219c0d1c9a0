/**
 * What the server half refuses before there is a route to name: it must be in the access log like
 * everything else a caller was told, with the status it got, and counted by reason.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { startPlainService } from '@onehop/mock';
import { AccessLog, MetricsObserver } from 'onehop/gateway';
import { renderPrometheus } from 'onehop/telemetry';
import { sample } from '../support/serve-process.ts';
import { type GatewayInput, simple, until, withGateway } from './gateway-rig.ts';
import { RawClient } from './raw-client.ts';

type Line = Record<string, unknown>;

/** Runs `body` against a gateway with metrics and a log; the lines of the log and the metrics. */
async function observed(
  more: Partial<GatewayInput>,
  body: (port: number) => Promise<void>,
): Promise<{ lines: Line[]; metrics: string }> {
  const dir = mkdtempSync(join(tmpdir(), 'onehop-log-'));
  const path = join(dir, 'access.log');
  const service = await startPlainService({ sizeBytes: 3 });
  const log = AccessLog.open(path);
  const observer = new MetricsObserver({ version: 'test', accessLog: log });
  let metrics = '';
  const hear = {
    onFinish: observer.onFinish.bind(observer),
    onRefused: observer.onRefused.bind(observer),
  };
  try {
    await withGateway(
      simple([service.port], {}, more),
      async ({ port, gateway }) => {
        await body(port);
        assert.ok(await until(() => gateway.server.counters.exchangesOpen === 0));
        metrics = renderPrometheus(observer.snapshot(gateway));
      },
      hear,
    );
    await log.close();
    const text = readFileSync(path, 'utf8').trim();
    const lines = text === '' ? [] : text.split('\n').map((line) => JSON.parse(line) as Line);
    return { lines, metrics };
  } finally {
    await service.close();
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Sends bytes, waits for the end, and says the status that came. */
async function tell(port: number, bytes: string, leave = false): Promise<number> {
  const client = await RawClient.open(port);
  client.send(bytes);
  if (leave) client.socket.end();
  assert.ok(await client.untilEnd(), `no end for ${JSON.stringify(bytes.slice(0, 60))}`);
  client.close();
  return Number(/^HTTP\/1\.1 (\d+)/.exec(client.text)?.[1] ?? 0);
}

const limits = { headTime: 150, bodyGap: 150, body: 1000, requestLine: 500, head: 2000 };

interface Refused {
  what: string;
  bytes: string;
  status: number;
  code: string;
  method: string | null;
  path: string | null;
  leave?: true;
}

const post = 'POST /p HTTP/1.1\r\nHost: t\r\n';
const refused: Refused[] = [
  {
    what: 'no Host',
    bytes: 'GET /a?api_key=sesame HTTP/1.1\r\n\r\n',
    status: 400,
    code: 'REQUEST_INVALID',
    method: 'GET',
    path: '/a?api_key=***',
  },
  {
    what: 'no request line at all',
    bytes: '\u0016\u0003\u0001\r\n\r\n',
    status: 400,
    code: 'REQUEST_INVALID',
    method: null,
    path: null,
  },
  {
    what: 'a wrong version',
    bytes: 'GET /v HTTP/2.0\r\nHost: t\r\n\r\n',
    status: 505,
    code: 'REQUEST_INVALID',
    method: 'GET',
    path: '/v',
  },
  {
    what: 'a long target',
    bytes: `GET /${'a'.repeat(600)} HTTP/1.1\r\nHost: t\r\n\r\n`,
    status: 414,
    code: 'URI_TOO_LONG',
    method: 'GET',
    path: null,
  },
  {
    what: 'a large head',
    bytes: `GET /h HTTP/1.1\r\nHost: t\r\nX: ${'a'.repeat(3000)}\r\n\r\n`,
    status: 431,
    code: 'HEAD_TOO_LARGE',
    method: 'GET',
    path: '/h',
  },
  {
    what: 'an announced body beyond the limit',
    bytes: `${post}Content-Length: 1001\r\n\r\n`,
    status: 413,
    code: 'REQUEST_TOO_LARGE',
    method: 'POST',
    path: '/p',
  },
  {
    what: 'a chunked body that grows beyond the limit',
    bytes: `${post}Transfer-Encoding: chunked\r\n\r\n400\r\n${'x'.repeat(1024)}\r\n0\r\n\r\n`,
    status: 413,
    code: 'REQUEST_TOO_LARGE',
    method: 'POST',
    path: '/p',
  },
  {
    what: 'a bad chunk',
    bytes: `${post}Transfer-Encoding: chunked\r\n\r\nzz\r\n`,
    status: 400,
    code: 'REQUEST_INVALID',
    method: 'POST',
    path: '/p',
  },
  {
    what: 'a head that does not end',
    bytes: 'GET /slow HTTP/1.1\r\nHost: t\r\n',
    status: 408,
    code: 'REQUEST_TIMEOUT',
    method: 'GET',
    path: '/slow',
  },
  {
    what: 'a body that stops',
    bytes: `${post}Content-Length: 9\r\n\r\nx`,
    status: 408,
    code: 'REQUEST_TIMEOUT',
    method: 'POST',
    path: '/p',
  },
  {
    what: 'a caller that leaves within its head',
    bytes: 'GET /left HTTP/1.1\r\nHos',
    status: 499,
    code: 'ABORTED',
    method: 'GET',
    path: '/left',
    leave: true,
  },
];

test('what is refused before it is routed is logged with status, code, phase and address', async () => {
  const { lines, metrics } = await observed({ limits }, async (port) => {
    for (const { what, bytes, status, leave } of refused) {
      const got = await tell(port, bytes, leave);
      if (leave !== true) assert.equal(got, status, what);
    }
    assert.equal(await tell(port, 'GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n'), 200);
  });
  assert.equal(lines.length, refused.length + 1);
  const keys = Object.keys(lines.at(-1)!);
  for (const [index, { what, status, code, method, path }] of refused.entries()) {
    const line = lines[index]!;
    // One schema for every line, whoever wrote it.
    assert.deepEqual(Object.keys(line), keys, what);
    assert.deepEqual(
      {
        status: line['status'],
        error: line['error'],
        method: line['method'],
        path: line['path'],
        phase: line['phase'],
        attempts: line['attempts'],
        address: line['address'],
      },
      { status, error: code, method, path, phase: 'request', attempts: 0, address: '127.0.0.1' },
      what,
    );
    assert.equal(typeof line['reason'], 'string', what);
  }
  assert.equal(lines.at(-1)!['reason'], null);
  assert.doesNotMatch(JSON.stringify(lines), /sesame/);

  const counts = new Map<string, number>();
  for (const { code } of refused) counts.set(code, (counts.get(code) ?? 0) + 1);
  for (const [reason, count] of counts) {
    const expected = reason === 'ABORTED' ? 0 : count;
    assert.equal(sample(metrics, 'onehop_rejects_total', { reason }), expected, reason);
  }
  // Those that were exchanges already are counted by what the caller got, too: both bodies over
  // the limit, the bad chunk and the body that stops.
  assert.equal(sample(metrics, 'onehop_requests_total', { status: '4xx' }), 4);
  assert.equal(sample(metrics, 'onehop_requests_total', { status: '5xx' }), 0);
});

test('connections refused by limits are counted by the limit, told to come again, and not logged', async () => {
  for (const limit of ['connections', 'connectionsPerAddress']) {
    const { lines, metrics } = await observed({ limits: { [limit]: 2 } }, async (port) => {
      const kept = [await RawClient.open(port), await RawClient.open(port)];
      for (const client of kept) {
        client.send('GET / HTTP/1.1\r\nHost: t\r\n\r\n');
        assert.ok(await client.untilText('200 OK'));
      }
      const third = await RawClient.open(port);
      assert.ok(await third.untilEnd());
      assert.match(third.text, /^HTTP\/1\.1 503 .*\r\n(?:.*\r\n)*retry-after: \d+\r\n/i);
      third.close();
      kept[0]!.close();
      const again = async (): Promise<boolean> =>
        (await tell(port, 'GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n')) === 200;
      let free = false;
      for (let i = 0; i < 50 && !free; i++) free = await again();
      assert.ok(free, 'the place of a caller that left is not given to another');
      kept[1]!.close();
    });
    const name = 'onehop_downstream_connections_refused_total';
    assert.ok(sample(metrics, name, { reason: limit }) >= 1, limit);
    const other = limit === 'connections' ? 'connectionsPerAddress' : 'connections';
    assert.equal(sample(metrics, name, { reason: other }), 0);
    assert.equal(
      lines.filter(({ status }) => status !== 200).length,
      0,
      'a flood of connections must not become a flood of lines',
    );
  }
});
