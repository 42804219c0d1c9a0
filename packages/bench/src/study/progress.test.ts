import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { clockText, createProgress } from './progress.ts';

function record(isTTY: boolean) {
  const writes: string[] = [];
  const target = { write: (text: string) => writes.push(text), isTTY, columns: 80 };
  return { writes, progress: createProgress(target, () => 65_000) };
}

test('times are shown as on a clock', () => {
  assert.equal(clockText(0), '0:00');
  assert.equal(clockText(65_400), '1:05');
  assert.equal(clockText(3_723_000), '1:02:03');
});

test('without a terminal the display is plain lines', async () => {
  const { writes, progress } = record(false);
  progress.round(0, 10, 18);
  progress.doing('axios n100-c5');
  await sleep(600);
  progress.end();
  assert.deepEqual(writes, ['round 1 of 10: 18 processes, at most 1:05 left\n']);
});

test('on a terminal it is repainted at most four times a second and leaves nothing behind', async () => {
  const startedMs = performance.now();
  const { writes, progress } = record(true);
  progress.round(2, 10, 18);
  progress.doing('axios n100-c5');
  await sleep(1100);
  const paints = writes.filter((text) => text.includes('round 3 of 10'));
  const elapsedMs = performance.now() - startedMs;
  const most = Math.floor(elapsedMs / 250) + 1;
  const text = `${paints.length} paints in ${elapsedMs} ms`;
  assert.ok(paints.length >= 1 && paints.length <= most, text);
  assert.match(paints[0]!, /now axios n100-c5/);
  progress.end();
  // The last thing written clears what was painted.
  assert.match(writes.at(-1)!, new RegExp(`^${String.fromCharCode(27)}\\[\\d+A`));
  const count = writes.length;
  await sleep(600);
  assert.equal(writes.length, count);
});
