/**
 * The transport writes on handles that Node does not document: what stands on them is tested on every
 * Node that people have, not only on the one that runs the tests.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { onBun } from '../support/serve-process.ts';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const files = [
  'contract/transport.test.js',
  'contract/transport-system.test.js',
  'contract/transport-internals.test.js',
  'contract/transport-stress.test.js',
  'contract/client.test.js',
  'contract/client-bodies.test.js',
  'contract/server.test.js',
  'e2e/gateway-streams.test.js',
  'e2e/gateway-workers.test.js',
].map((file) => join(root, 'test/dist', file));

function run(node: string): Promise<{ code: number | null; text: string }> {
  const env: NodeJS.ProcessEnv = {
    ...process.env,
    PATH: `${dirname(node)}${delimiter}${process.env['PATH']}`,
  };
  // Or the runner takes itself for a part of this one.
  delete env['NODE_TEST_CONTEXT'];
  const child = spawn(node, ['--test', '--test-reporter=tap', '--test-concurrency=1', ...files], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (part: string) => {
      text += part;
    });
  }
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, text }));
  });
}

for (const version of [22, 24, 26]) {
  const node = join(root, `lab/peers/node/node_modules/node-${version}/bin/node`);
  const missing = existsSync(node) ? false : 'not installed: see scripts/setup-peers.sh';
  test(`sockets, client, server and workers do on Node ${version} what they do here`, {
    skip: onBun ? 'about Node' : missing,
  }, async () => {
    const { code, text } = await run(node);
    const failed = text.split('\n').filter((line) => /^\s*not ok/.test(line));
    assert.deepEqual(failed, [], text.slice(-4000));
    assert.equal(code, 0, text.slice(-4000));
    assert.ok(Number(/^# pass (\d+)$/m.exec(text)?.[1]) > 250, text.slice(-500));
  });
}
