/**
 * Whoever is hit by a limit is told its key: in the log of `onehop serve`, in the metrics, and through
 * the observer. And no default turns away a crowd that comes through one address.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { gatewayJsonSchema, LIMITS, type LimitReport } from 'onehop/gateway';
import { ok, type Script } from '../support/raw-server.ts';
import { binary, ownRuntime, ServeProcess } from '../support/serve-process.ts';
import { ask, type GatewayInput, simple, until, withGateway, withServers } from './gateway-rig.ts';
import { withSimGateway } from './gateway-sim.ts';
import { RawClient } from './raw-client.ts';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../../..');
const fine: Script = (peer) => peer.send(ok('fine'));
const get = 'GET / HTTP/1.1\r\nHost: t\r\n\r\n';

// ---- Every limit --------------------------------------------------------------------------------

type Schema = {
  properties?: Record<string, Schema>;
  items?: Schema;
  additionalProperties?: Schema;
};

test('every limit of the configuration is in the catalogue of what is told', () => {
  const { limits, upstreams, routes } = (gatewayJsonSchema() as Schema).properties!;
  const upstream = upstreams!.additionalProperties!.properties!;
  const route = routes!.items!.properties!;
  const keys = (group: string, schema: Schema): string[] =>
    Object.keys(schema.properties!).map((key) => `${group}.${key}`);
  const configured = [
    ...keys('limits', limits!),
    ...['limits', 'timeouts', 'retry'].flatMap((group) =>
      keys(`upstreams.<name>.${group}`, upstream[group]!),
    ),
  ];
  const page = readFileSync(join(root, 'docs/reference/limits.md'), 'utf8');
  const rows = [...page.matchAll(/^\| `(\w+)` \| `[^`]+` \| `([^`]+)` \|/gm)];
  const nameOf = new Map(rows.map(([, name, key]) => [key!, name!]));
  nameOf.set('limits.connections', 'connectionsMax');
  const none: Record<string, string> = {
    'limits.connectionsPerAddressStatus': 'what is answered',
    'upstreams.<name>.limits.queueStatus': 'what is answered',
    'upstreams.<name>.limits.queueWaitStatus': 'what is answered',
    'upstreams.<name>.limits.pending': 'more requests wait: limits.queue and queueWait turn away',
    'upstreams.<name>.limits.pendingPerTarget': 'as pending',
  };
  for (const key of configured) {
    if (key in none) continue;
    const name = nameOf.get(key);
    assert.ok(name !== undefined && name in LIMITS, `${key} is not in the catalogue`);
    const spec = LIMITS[name as keyof typeof LIMITS];
    if (typeof spec === 'string') continue;
    const ofUpstream = spec.scope === 'upstream' || spec.scope === 'timeout';
    assert.equal(ofUpstream ? `upstreams.<name>.${spec.key}` : spec.key, key);
  }
  // What a route may say otherwise; its attempts are no limit that turns away.
  const ofRoute = Object.keys(route).filter((key) => /max|timeouts|limit|retry/i.test(key));
  assert.deepEqual(ofRoute.sort(), ['bodyMax', 'retry', 'timeouts']);
});

// ---- The line -----------------------------------------------------------------------------------

test('refusals of ten seconds are one line, and the last of them are not forgotten', async () => {
  const lines: string[] = [];
  const limits = { connectionsPerAddress: 1 } as object;
  await withSimGateway(
    [fine],
    (ports) => simple(ports, {}, { limits }),
    async ({ open, until: wait, pause, gateway }) => {
      const first = open();
      first.send(get);
      assert.ok(await wait(() => first.text.includes('fine')));
      const refused = async (): Promise<void> => {
        const client = open();
        assert.ok(await wait(() => client.ended));
        assert.match(client.text, /^HTTP\/1\.1 503 /);
      };
      await refused();
      assert.equal(lines.length, 1);
      for (let i = 0; i < 5; i++) await refused();
      assert.equal(lines.length, 1);
      await pause(10_010);
      const advice =
        'limits.connectionsPerAddress is 1 (from 127.0.0.1); raise it or leave it out; if that is a proxy, name it in trustForwarded';
      assert.deepEqual(lines, [
        `limit: 1 connection refused (503) so far: ${advice}`,
        `limit: 5 connections refused (503) in 10 s: ${advice.replace('(from', '(most from')}`,
      ]);
      await pause(60_000);
      assert.equal(lines.length, 2);
      assert.deepEqual(gateway.limitReporter.totals(), [['limits.connectionsPerAddress', 6]]);
    },
    { onLimit: ({ text }: LimitReport) => void lines.push(text) },
  );
});

const told = async (
  input: (ports: number[]) => GatewayInput,
  script: Script,
  request: string,
): Promise<LimitReport> => {
  const reports: LimitReport[] = [];
  await withServers([script], (_, ports) =>
    withGateway(
      input(ports),
      async ({ port }) => {
        await ask(port, request);
        assert.ok(await until(() => reports.length > 0), 'nobody is told');
      },
      { onLimit: (report) => void reports.push(report) },
    ),
  );
  assert.equal(reports.length, 1);
  return reports[0]!;
};
const post = (length: number): string =>
  `POST / HTTP/1.1\r\nHost: t\r\nContent-Length: ${length}\r\n\r\n${'x'.repeat(length)}`;

test('a limit that a route sets is told of as the route’s', async () => {
  const body = await told((ports) => simple(ports, {}, { route: { bodyMax: 10 } }), fine, post(11));
  assert.deepEqual([body.key, body.status], ['routes[0].bodyMax', 413]);
  assert.match(
    body.text,
    /^limit: 1 request refused \(413\) so far: routes\[0\]\.bodyMax is 10 bytes \(from 127\.0\.0\.1\); raise it$/,
  );
  const late = await told(
    (ports) => simple(ports, { timeouts: { head: '1h' } }, { route: { timeouts: { head: 50 } } }),
    () => {},
    get,
  );
  assert.match(
    late.text,
    /^limit: 1 request ended \(504\) so far: routes\[0\]\.timeouts\.head is 50ms; raise it$/,
  );
  const own = await told(
    (ports) => simple(ports, { timeouts: { head: 50 } }),
    () => {},
    get,
  );
  assert.equal(own.key, 'upstreams.up.timeouts.head');
});

test('a response that was cut is told of without the status it began with', async () => {
  const report = await told(
    (ports) => simple(ports, { timeouts: { idle: 50 } }),
    (peer) => peer.send('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc'),
    get,
  );
  assert.deepEqual([report.key, report.status], ['upstreams.up.timeouts.idle', 0]);
  assert.match(report.text, /^limit: 1 request ended so far: /);
});

test('a failure that another target makes good is no limit met', () =>
  withServers([() => {}, fine], async (_, ports) => {
    const reports: LimitReport[] = [];
    await withGateway(
      simple(ports, {
        timeouts: { head: 50 },
        balance: 'round-robin',
        retry: { budgetMin: 10 },
      }),
      async ({ port }) => {
        for (let i = 0; i < 4; i++) assert.equal((await ask(port)).status, 200);
      },
      { onLimit: (report) => void reports.push(report) },
    );
    assert.deepEqual(reports, []);
  }));

test('trusted peers are no address of their own: connectionsPerAddress does not hold for them', () =>
  withServers([fine], (_, ports) => {
    const limits = { connectionsPerAddress: 2 } as object;
    return withGateway(
      simple(ports, {}, { limits, trustForwarded: ['127.0.0.1'] }),
      async ({ port }) => {
        const clients = await Promise.all(Array.from({ length: 20 }, () => RawClient.open(port)));
        for (const client of clients) client.send(get);
        for (const client of clients) assert.ok(await client.untilText('fine'), client.text);
        for (const client of clients) client.close();
      },
    );
  }));

for (const workers of [1, 2]) {
  test(`onehop serve writes which limit turned callers away (${workers} workers)`, () =>
    withServers([fine], async (_, ports) => {
      const folder = mkdtempSync(join(tmpdir(), 'onehop-limits-'));
      const file = join(folder, 'onehop.yaml');
      writeFileSync(
        file,
        `listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nworkers: ${workers}\n` +
          `upstreams: { up: { targets: ["http://127.0.0.1:${ports[0]}"] } }\n` +
          'routes: [{ upstream: up }]\nlimits: { head: 200 }\n',
      );
      const gateway = new ServeProcess(['serve', file, '--runtime', ownRuntime]);
      try {
        await gateway.ready();
        const port = Number(new URL(gateway.url).port);
        const long = `GET / HTTP/1.1\r\nHost: t\r\nX: ${'a'.repeat(200)}\r\n\r\n`;
        assert.equal((await ask(port, long)).status, 431);
        const line =
          /^onehop: limit: 1 request refused \(431\) so far: limits\.head is 200 bytes \(from 127\.0\.0\.1\); raise it$/m;
        await gateway.says(line);
        const metrics = await (await fetch(`${gateway.admin}/metrics`)).text();
        assert.match(metrics, /^onehop_limit_refusals_total\{limit="limits\.head"\} 1$/m);
        // The second of this worker is told when it ends, if not before.
        for (let i = 0; i < 8; i++) assert.equal((await ask(port, long)).status, 431);
        gateway.child.kill('SIGTERM');
        assert.equal(await gateway.exit, 0);
        const counts = [...gateway.stderr.matchAll(/limit: (\d+) requests? refused/g)];
        assert.equal(
          counts.reduce((sum, [, count]) => sum + Number(count), 0),
          9,
        );
      } finally {
        gateway.child.kill('SIGKILL');
        rmSync(folder, { recursive: true, force: true });
      }
    }));
}

// ---- A crowd behind one address -----------------------------------------------------------------

const crowd = 400;

test(`${crowd} connections of one address were refused by default`, () =>
  withServers([fine], (_, ports) =>
    withGateway(simple(ports), async ({ port, gateway }) => {
      const clients = await Promise.all(Array.from({ length: crowd }, () => RawClient.open(port)));
      for (const client of clients) client.send(get);
      for (const client of clients) assert.ok(await client.untilText('fine'), client.text);
      assert.equal(gateway.server.counters.connectionsOpen, crowd);
      assert.deepEqual(gateway.limitReporter.totals(), []);
      for (const client of clients) client.close();
    }),
  ));

/** Runs a program to its end. */
function run(command: string, args: string[]): Promise<{ code: number | null; text: string }> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  for (const out of [child.stdout, child.stderr]) {
    out.on('data', (bytes) => {
      text += bytes;
    });
  }
  const giveUp = setTimeout(() => child.kill('SIGKILL'), 120_000);
  return new Promise((done) =>
    child.once('close', (code) => {
      clearTimeout(giveUp);
      done({ code, text });
    }),
  );
}

const wrk = ['/usr/bin/wrk', '/usr/local/bin/wrk'].find(existsSync);
test(
  `wrk -c${crowd}: all answers of a default gateway are 200`,
  {
    skip: wrk === undefined ? 'wrk is missing' : false,
  },
  () =>
    withServers([fine], (_, ports) =>
      withGateway(simple(ports), async ({ port, gateway }) => {
        const args = [`-c${crowd}`, '-t1', '-d1s', '--timeout', '60s', `http://127.0.0.1:${port}/`];
        const { code, text } = await run(wrk!, args);
        assert.equal(code, 0, text);
        assert.match(text, /^\s*[1-9]\d* requests in/m);
        assert.doesNotMatch(text, /Non-2xx|Socket errors/, text);
        assert.deepEqual(gateway.limitReporter.totals(), []);
      }),
    ),
);

test(`our own generator with ${crowd} connections: all answers of a default gateway are 200`, () =>
  withServers([fine], (_, ports) =>
    withGateway(simple(ports), async ({ port, gateway }) => {
      const load = ['bench', 'load', '--runtime', ownRuntime, '--no-tui', '-j'];
      const args = [...load, '-c', String(crowd), '-n', String(crowd * 3)];
      const url = `http://127.0.0.1:${port}/`;
      const { code, text } = await run(process.execPath, [binary, ...args, url]);
      assert.equal(code, 0, text);
      const { statusCodeDistribution } = JSON.parse(text.slice(text.indexOf('{')));
      assert.deepEqual(statusCodeDistribution, { 200: crowd * 3 });
      assert.deepEqual(gateway.limitReporter.totals(), []);
    }),
  ));
