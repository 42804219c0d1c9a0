/** `npm start`: what a newcomer sees first. Its ports are passed so that tests do not collide. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ask, isAlive, ownRuntime, until } from '../support/serve-process.ts';

const script = fileURLToPath(new URL('../../../scripts/start.mjs', import.meta.url));

test('npm start forwards, balances, streams and counts; one signal ends all of it', async () => {
  const child = spawn(
    process.execPath,
    [script, '--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0', '--runtime', ownRuntime],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let text = '';
  child.stdout.on('data', (bytes) => {
    text += bytes;
  });
  child.stderr.on('data', (bytes) => {
    text += bytes;
  });
  const exit = new Promise<number | null>((resolve) => child.once('close', resolve));
  try {
    await until(() => text.includes('Ctrl-C ends all'), 'the help', 40_000);
    const url = /curl -i (\S+)\/hello\/you/.exec(text)![1]!;
    const admin = /curl -s (\S+)\/status/.exec(text)![1]!;
    const sizes = new Set<number>();
    for (let i = 0; i < 4; i++) sizes.add((await ask(`${url}/hello/you`)).body.length);
    assert.deepEqual([...sizes].sort(), [20, 40]);
    const stream = await ask(`${url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"model":"any","stream":true,"messages":[{"role":"user","content":"hi"}]}',
    });
    assert.match(stream.body, /data: \[DONE\]/);
    const metrics = (await ask(`${admin}/metrics`)).body;
    assert.match(
      metrics,
      /onehop_requests_total\{route="\/hello\/\*",upstream="hello",status="2xx"\} 4/,
    );
    await until(() => text.includes('"path":"/hello/you"'), 'the access log');
  } finally {
    child.kill('SIGINT');
  }
  assert.equal(await exit, 0, text);
  const pid = Number(/pid (\d+)/.exec(text)![1]);
  assert.equal(isAlive(pid), false);
});
