/** What the gateway holds of request bodies: while it looks for their model, and behind a response. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { GatewayExchange } from 'onehop/gateway';
import { ok, type RawPeer, type Script } from '../support/raw-server.ts';
import { childrenOf, ownRuntime, ServeProcess } from '../support/serve-process.ts';
import { ask, type GatewayInput, simple, until, withGateway, withServers } from './gateway-rig.ts';
import { withSimGateway } from './gateway-sim.ts';
import { parseResponses, RawClient } from './raw-client.ts';

const models = { path: '/v1/*', models: ['m'] };
const head = (length: number): string =>
  `POST /v1/chat HTTP/1.1\r\nHost: t\r\nContent-Length: ${length}\r\n\r\n`;
const sized: Script = (peer, { body }) => peer.send(ok(String(body.length)));

test('forty bodies without a model are kept whole, each as long as it likes', async () => {
  await withServers([sized], async ([server], ports) => {
    const limits = { scan: '256KiB', scans: '1MiB' };
    await withGateway(simple(ports, {}, { route: models, limits }), async (rig) => {
      const { scans } = rig.gateway;
      let most = 0;
      const clients = await Promise.all(Array.from({ length: 40 }, () => RawClient.open(rig.port)));
      for (const client of clients) client.send(`${head(1_000_000)}{"pad":"`);
      const alive = new Set(clients);
      const block = Buffer.alloc(10_000, 'x');
      assert.ok(
        await until(() => {
          for (const client of alive) {
            if (client.ended) alive.delete(client);
            else client.send(block);
          }
          most = Math.max(most, scans.bytes);
          return alive.size === 0;
        }, 60_000),
        'they are still read',
      );
      assert.ok(most > 512 * 1024, `${most}: nothing is kept`);
      assert.ok(most <= 1024 * 1024, `${most} bytes are kept`);
      const answers = clients.flatMap(({ text }) => parseResponses(text));
      const of = (status: number) => answers.filter((answer) => answer.status === status);
      assert.ok(of(503).length > 0);
      assert.equal(of(503).length + of(413).length, answers.length);
      const [busy] = of(503);
      assert.equal(busy!.fields.find(([name]) => name === 'retry-after')?.[1], '1');
      assert.match(busy!.body, /"type":"server_error".*"code":"scans_full"/);
      for (const { body } of of(413)) {
        assert.match(body, /limits\.scan\)/);
        assert.match(body, /"type":"invalid_request_error".*"code":"scan_too_long"/);
      }
      assert.equal(server!.requests.length, 0);
      assert.ok(await until(() => scans.bytes === 0), `${scans.bytes} bytes are still counted`);
      // And there is room again.
      const body = `{"pad":"${'x'.repeat(200_000)}","model":"m"}`;
      const got = await ask(rig.port, head(body.length) + body);
      assert.equal(got.body, String(body.length));
      for (const client of clients) client.close();
    });
  });
});

test('what was kept is given back once, however the request goes on', async () => {
  const never: Script = () => {};
  await withServers([sized, never], async (_, [port, deaf]) => {
    const routes = [
      { ...models, upstream: 'up' },
      { path: '/v1/*', models: ['deaf'], upstream: 'deaf' },
      { path: '/other/*', upstream: 'up' },
    ];
    const input = {
      upstreams: {
        up: { targets: [`http://127.0.0.1:${port}`] },
        deaf: {
          targets: [`http://127.0.0.1:${deaf}`],
          limits: { pending: 1, queue: 1, queueWait: 200 },
          timeouts: { head: 400 },
        },
      },
      routes,
      limits: { scan: '512KiB' },
    } as GatewayInput;
    await withGateway(input, async (rig) => {
      const { scans } = rig.gateway;
      /** A body of which 200 KB are kept, and what ends it. */
      const scanning = async (end: string): Promise<RawClient> => {
        const client = await RawClient.open(rig.port);
        const start = `{"pad":"${'x'.repeat(200_000)}`;
        client.send(head(start.length + end.length) + start);
        const before = scans.bytes;
        assert.ok(await until(() => scans.bytes >= before + start.length));
        return client;
      };
      const answered = async (end: string, status: number): Promise<void> => {
        const client = await scanning(end);
        client.send(end);
        assert.ok(await client.untilText('\r\n\r\n'));
        assert.equal(client.text.slice(9, 12), String(status), end.slice(0, 40));
        assert.ok(
          await until(() => scans.bytes === 0),
          `${scans.bytes} bytes: ${end.slice(0, 40)}`,
        );
        client.close();
      };
      await answered('","model":"m"}', 200);
      await answered('","model":"m","model":"n"}', 400);
      await answered('","model":"unknown"}', 404);
      await answered('"}', 404);
      await answered('"]', 400);
      await answered(`${'x'.repeat(2_000_000)}","model":"m"}`, 413);
      // The caller leaves.
      const gone = await scanning('"}');
      gone.close();
      assert.ok(await until(() => scans.bytes === 0));
      // An upstream that takes the body and does not answer; behind it one waits in line in vain.
      const first = scanning('","model":"deaf"}');
      const client = await first;
      client.send('","model":"deaf"}');
      assert.ok(await until(() => scans.bytes === 0));
      await answered('","model":"deaf"}', 503);
      assert.ok(await client.untilText(' 504 '));
      client.close();
    });
  });
});

test('a caller that drips keeps the room of all others for hours', async () => {
  const configure = (ports: number[]): GatewayInput =>
    simple(ports, {}, { route: models, limits: { scans: '700KiB', bodyGrace: '20s' } });
  await withSimGateway([sized], configure, async (rig) => {
    const slow = rig.open();
    slow.send(`${head(10_000_000)}{"pad":"${'x'.repeat(400_000)}`);
    const { scans } = rig.gateway;
    assert.ok(await rig.until(() => scans.bytes >= 400_000));
    const body = `{"pad":"${'x'.repeat(400_000)}","model":"m"}`;
    const whole = head(body.length) + body;
    // Within its time it is left alone.
    const refused = await rig.ask(whole);
    assert.equal(refused.status, 503);
    for (let i = 0; i < 25; i++) {
      await rig.pause(1000);
      slow.send('x');
    }
    assert.equal(slow.text, '');
    const got = await rig.ask(whole);
    assert.equal(got.body, String(body.length));
    assert.ok(await rig.until(() => slow.text.includes('\r\n\r\n')));
    assert.match(slow.text, /^HTTP\/1\.1 503 /);
    assert.match(slow.text, /limits\.scans/);
    assert.equal(scans.bytes, 0);
  });
});

// ---- Behind the response ------------------------------------------------------------------------

const stream =
  'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n';
const event = 'b\r\ndata: one\n\n\r\n';

/** Collects what nobody holds, whatever the runtime was started with. */
async function collector(): Promise<() => void> {
  const { Bun: bun } = globalThis as { Bun?: { gc(force: boolean): void } };
  if (bun !== undefined) return () => bun.gc(true);
  const { setFlagsFromString } = await import('node:v8');
  const { runInNewContext } = await import('node:vm');
  setFlagsFromString('--expose-gc');
  return runInNewContext('gc') as () => void;
}

test('a prompt is held as long as its answer streams', async () => {
  const collect = await collector();
  const peers: RawPeer[] = [];
  const script: Script = (peer) => {
    peers.push(peer);
  };
  await withServers([script], async (_, ports) => {
    await withGateway(simple(ports, {}, { route: { path: '/*' } }), async (rig) => {
      const clients: RawClient[] = [];
      for (let i = 0; i < 6; i++) {
        const client = await RawClient.open(rig.port);
        client.send(head(60_000) + 'x'.repeat(60_000));
        clients.push(client);
      }
      assert.ok(await until(() => peers.length === 6));
      const exchanges = (): GatewayExchange[] => {
        const found: GatewayExchange[] = [];
        rig.gateway.server.forEachExchange(({ state }) =>
          found.push(state as unknown as GatewayExchange),
        );
        return found;
      };
      const prompts = exchanges().map(({ body }) => new WeakRef(body as Uint8Array));
      assert.equal(prompts.length, 6);
      for (const peer of peers) peer.send(stream + event);
      for (const client of clients) assert.ok(await client.untilText('data: one'));
      for (const { body } of exchanges()) assert.ok(!(body instanceof Uint8Array));
      // A collector that looks at the stack may take a stray number for a reference to one or two.
      const held = (): number => prompts.filter((prompt) => prompt.deref() !== undefined).length;
      assert.ok(
        await until(() => {
          collect();
          return held() <= 2;
        }),
        `${held()} of 6 prompts are still there`,
      );
      for (const peer of peers) peer.send('0\r\n\r\n');
      for (const client of clients) {
        assert.ok(await client.untilText('0\r\n\r\n'));
        client.close();
      }
    });
  });
});

test('a request whose target asks to be left alone goes to another with its body', async () => {
  const busy = 'HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n';
  await withServers([(peer) => peer.send(busy), sized], async (_, ports) => {
    await withGateway(
      simple(ports, { balance: 'round-robin', retry: { budget: 1, budgetMin: 9 } }),
      async (rig) => {
        for (let i = 0; i < 4; i++) {
          const got = await ask(rig.port, head(50_000) + 'x'.repeat(50_000));
          assert.equal(got.body, '50000', String(got.status));
        }
      },
    );
  });
});

// ---- A process ----------------------------------------------------------------------------------

const rssMbOf = async (pid: number): Promise<number> =>
  Number(/VmRSS:\s+(\d+)/.exec(await readFile(`/proc/${pid}/status`, 'utf8'))![1]) / 1024;

test('the memory of bodies without a model stays with the process', {
  skip: process.platform === 'linux' ? false : 'reads /proc',
}, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'onehop-scans-'));
  const file = join(folder, 'onehop.yaml');
  writeFileSync(
    file,
    `listen: 127.0.0.1:0
upstreams: { a: { targets: ["http://127.0.0.1:9"] } }
routes: [{ path: /v1/*, upstream: a, models: [m] }]
limits: { scan: 16MiB, scans: 160MiB }
`,
  );
  const served = await new ServeProcess(['serve', file, '--runtime', ownRuntime]).ready();
  try {
    const [worker] = await childrenOf(served.pid);
    const before = await rssMbOf(worker!);
    const { port } = new URL(served.url);
    const block = Buffer.alloc(64 * 1024, 'x');
    const sent = 15 * 1024 * 1024;
    const sockets = Array.from({ length: 10 }, () => connect(Number(port), '127.0.0.1'));
    for (const socket of sockets) {
      socket.on('error', () => {});
      socket.write(`${head(2 * sent)}{"pad":"`);
      for (let bytes = 0; bytes < sent; bytes += block.length) socket.write(block);
    }
    let heldMb = 0;
    const grown = async (wanted: (mb: number) => boolean): Promise<boolean> => {
      for (let i = 0; i < 600; i++) {
        heldMb = (await rssMbOf(worker!)) - before;
        if (wanted(heldMb)) return true;
        await new Promise((done) => setTimeout(done, 50));
      }
      return false;
    };
    assert.ok(await grown((mb) => mb > 130), `${heldMb} MB for 150 MB`);
    for (const socket of sockets) socket.destroy();
    assert.ok(await grown((mb) => mb < 50), `${heldMb} MB are still there`);
  } finally {
    served.kill('SIGTERM');
    await served.exit;
    await rm(folder, { recursive: true });
  }
});
