import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { judge, rowsOf } from './client-bench-judge.ts';
import type { Sample } from './client-bench-types.ts';
import { contenders } from './client-contenders.ts';
import { jsonOf, replyHead, replyHeadBytes } from './client-reply.ts';
import { startUpstream } from './client-upstream-server.ts';

const sample = (contender: string, round: number, cpuUs: number, over = {}): Sample => ({
  contender,
  round,
  sizeBytes: 50,
  concurrency: 10,
  requests: 100,
  wallMs: 100,
  cpuUserUs: cpuUs * 60,
  cpuSystemUs: cpuUs * 40,
  upstreamCpu: 0.5,
  rssBytes: 1,
  ...over,
});

const bar = { id: 'P8', contender: 'ours', against: 'theirs', most: 0.5 };

test('bench:client judges by the median of the ratios of each round', () => {
  const samples = [
    sample('ours', 0, 10),
    sample('theirs', 0, 40),
    sample('ours', 1, 30),
    sample('theirs', 1, 50),
    // Ratios of medians would give 0.25 here.
    sample('ours', 2, 8),
    sample('theirs', 2, 10),
  ];
  const [verdict] = judge(samples, [bar]);
  assert.deepEqual(verdict!.ratio, { median: 0.6, low: 0.25, high: 0.8 });
  assert.equal(verdict!.met, false);
  assert.equal(verdict!.floor, null);
  const floor = judge([...samples, sample('bare-collect', 0, 8)], [bar])[0]!.floor;
  assert.deepEqual(floor, { median: 0.2, low: 0.2, high: 0.2 });
  assert.equal(judge(samples, [{ ...bar, most: 0.6 }])[0]!.met, true);
});

test('bench:client keeps cells apart and judges no pair of which one is missing', () => {
  const samples = [
    sample('ours', 0, 10),
    sample('ours', 0, 10, { sizeBytes: 1024 }),
    sample('theirs', 0, 40, { sizeBytes: 1024 }),
    sample('ours', 1, 10),
    sample('theirs', 2, 10),
  ];
  const verdicts = judge(samples, [bar]);
  assert.deepEqual(
    verdicts.map(({ sizeBytes, ratio }) => [sizeBytes, ratio.median]),
    [[1024, 0.25]],
  );
});

test('bench:client says when the upstream or the machine was the limit', () => {
  const samples = [
    sample('bare-sockets', 0, 10, { requests: 1000 }),
    sample('fast', 0, 10, { requests: 950 }),
    sample('slow', 0, 10, { requests: 500 }),
    sample('busy', 0, 10, { requests: 500, upstreamCpu: 0.95 }),
  ];
  const rows = rowsOf(samples, ['fast', 'slow', 'busy', 'bare-sockets'], 'slow');
  assert.deepEqual(
    rows.map((row) => [row.contender, row.nearCeiling]),
    [
      ['fast', true],
      ['slow', false],
      ['busy', true],
      ['bare-sockets', false],
    ],
  );
});

test('the upstream of bench:client answers with exactly the announced bytes', () => {
  for (const bytes of [50, 1024, 65_536]) {
    assert.equal(jsonOf(bytes).length, bytes);
    assert.equal((JSON.parse(jsonOf(bytes)) as { id: number }).id, 1);
    assert.match(replyHead(bytes), new RegExp(`content-length: ${bytes}\\r\\n`));
  }
});

const runtime = 'Bun' in globalThis ? 'bun' : 'node';

for (const contender of contenders.filter((each) => each.runtimes.includes(runtime))) {
  test(`contender ${contender.name} counts whole answers, and refuses others`, async () => {
    const upstream = await startUpstream();
    const options = {
      host: '127.0.0.1',
      port: upstream.port,
      path: '/70000',
      connectionsMax: 3,
    };
    const open = await contender.load();
    const right = open({ ...options, bodyBytes: 70_000 });
    let asked = 0;
    const answered = await right.drive(3, () => ++asked > 6);
    assert.equal(answered, asked);
    await right.close();
    if (!contender.name.startsWith('bare-')) {
      const wrong = open({ ...options, bodyBytes: 69_999 });
      await assert.rejects(
        wrong.drive(1, () => true),
        /70000 bytes, not 200 with 69999/,
      );
      await wrong.close();
    }
    await upstream.close();
  });
}

test('bench:client loads no client but the one it runs', { skip: runtime === 'bun' }, () => {
  const loadsUndici = (name: string): string =>
    execFileSync(
      process.execPath,
      [
        '--input-type=module',
        '--eval',
        `import { createRequire } from 'node:module';
        const { contenders } = await import(${JSON.stringify(import.meta.resolve('./client-contenders.js'))});
        await contenders.find((each) => each.name === '${name}').load();
        const { cache } = createRequire(import.meta.url);
        process.stdout.write(String(Object.keys(cache).some((path) => path.includes('undici'))));`,
      ],
      { encoding: 'utf8' },
    );
  assert.equal(loadsUndici('undici-request'), 'true');
  for (const name of ['onehop-client', 'onehop-fetch', 'node-http', 'bare-collect']) {
    assert.equal(loadsUndici(name), 'false', name);
  }
});

for (const name of ['bare-sockets', 'bare-collect'])
  test(`${name} refuses an answer longer than expected`, async () => {
    const upstream = await startUpstream();
    const bare = contenders.find((each) => each.name === name)!;
    const open = await bare.load();
    const { drive, close } = open({
      host: '127.0.0.1',
      port: upstream.port,
      path: '/1000',
      bodyBytes: 1000 - 1,
      connectionsMax: 1,
    });
    assert.equal(replyHeadBytes(1000) - replyHeadBytes(999), 1);
    await assert.rejects(
      drive(1, () => true),
      /more bytes/,
    );
    await close();
    await upstream.close();
  });
