import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { closedCell } from '../results/synthetic.fixture.ts';
import { hasSettled, piecesAt, rateAfter } from './cell-run.ts';
import { watchOthers } from './other-load.ts';
import { hasTurn } from './turns.ts';

test('warming up ends when CPU per request falls no more, and not before', () => {
  assert.equal(hasSettled([300, 200, 100]), false);
  assert.equal(hasSettled([300, 200, 100, 80]), false);
  assert.equal(hasSettled([300, 200, 100, 80, 50, 45]), false);
  assert.equal(hasSettled([100, 80, 50, 45, 46, 49]), true);
  assert.equal(hasSettled([50, 45, 49, 44]), true);
});

test('a piece is long enough for most of it to be under full load, however fast or slow the server', () => {
  const cell = { ...closedCell(10_000, 50), durationMsMax: 800 };
  assert.equal(piecesAt(cell, 20_000, 8), 8);
  assert.equal(piecesAt(cell, 130_000, 8), 1, 'the direct control: 77 ms in all');
  assert.equal(piecesAt(cell, 60_000, 8), 4);
  assert.equal(piecesAt(cell, 3000, 8), 4);
  assert.equal(piecesAt(cell, 400, 8), 1);
  assert.equal(piecesAt(cell, 0, 8), 1, 'not warmed up: nothing is known');
});

test('the rest of a warm-up, in which nothing was answered, does not hide the rate', () => {
  assert.equal(rateAfter(0, { completed: 30, durationMs: 30 }), 1000);
  assert.equal(rateAfter(1000, { completed: 0, durationMs: 3 }), 1000);
  assert.equal(rateAfter(1000, { completed: 400, durationMs: 200 }), 2000);
});

test('every entry has as many turns as pieces, the first pass included, spread over the passes', () => {
  for (const passes of [1, 4, 10]) {
    for (let of = 1; of <= passes; of++) {
      const turns = Array.from({ length: passes }, (_, pass) => hasTurn(pass, passes, of));
      assert.equal(turns.filter(Boolean).length, of, `${of} of ${passes}`);
      assert.equal(turns[0], true);
    }
  }
  const half = Array.from({ length: 10 }, (_, pass) => hasTurn(pass, 10, 2));
  assert.equal(half.indexOf(true, 1), 5);
});

/** User and system time of a process. */
function cpuSeconds(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

test(
  'what other processes use is told, what our own use is not',
  process.platform === 'linux' ? {} : { skip: '/proc is Linux' },
  async () => {
    const busy = spawn(process.execPath, ['-e', 'for(;;);'], { stdio: 'ignore' });
    try {
      const now = (): [number, number] => [performance.now() / 1000, cpuSeconds(busy.pid!)];
      const outerStart = now();
      const stranger = watchOthers([]);
      const ours = watchOthers([busy.pid!]);
      const innerStart = now();
      await sleep(2000);
      const innerEnd = now();
      const [all, rest] = [stranger.read()!, ours.read()!];
      const outerEnd = now();
      // On a machine that others keep busy it gets less than a core, and to look takes its time.
      const least = (innerEnd[1] - innerStart[1]) / (outerEnd[0] - outerStart[0]);
      const most = (outerEnd[1] - outerStart[1]) / (innerEnd[0] - innerStart[0]);
      const text = `${all} with it, ${rest} without, it: ${least} to ${most}`;
      assert.ok(all - rest > least - 0.15 && all - rest < most + 0.15, text);
    } finally {
      busy.kill('SIGKILL');
    }
  },
);
