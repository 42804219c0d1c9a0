import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { test } from 'node:test';
import { findPinning, launchedBy } from './pinning.ts';

test('without a second core nothing is pinned', () => {
  assert.equal(findPinning(1), null);
});

test('words come in front of a command, none leave it as it is', () => {
  const launched = { command: 'node', args: ['main.js'], env: {} };
  assert.deepEqual(launchedBy(['taskset', '-c', '0'], launched), {
    command: 'taskset',
    args: ['-c', '0', 'node', 'main.js'],
    env: {},
  });
  assert.equal(launchedBy(undefined, launched), launched);
});

const pinning = findPinning();
test(
  'a pinned process runs on its core, keeps its pid and can be moved',
  pinning === null ? { skip: 'no second core or no taskset' } : {},
  async () => {
    const [command, ...args] = [
      ...pinning!.api(0),
      process.execPath,
      '-e',
      'setInterval(() => {}, 9)',
    ];
    const child = spawn(command!, args, { stdio: 'ignore' });
    const allowed = () =>
      /Cpus_allowed_list:\s*(\S+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))![1];
    try {
      const deadline = performance.now() + 20_000;
      while (allowed() !== '0' && performance.now() < deadline) {
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      assert.equal(allowed(), '0');
      pinning!.move(child.pid!, 'all');
      assert.equal(allowed(), `0-${availableParallelism() - 1}`);
      pinning!.move(child.pid!, 'rest');
      assert.notEqual(allowed(), '0');
    } finally {
      child.kill('SIGKILL');
    }
  },
);
