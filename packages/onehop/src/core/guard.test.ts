import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FaultLog, faultLine } from './guard.ts';

test('a fault that comes again and again is one line in ten seconds, with how many there were', () => {
  const lines: string[] = [];
  let nowMs = 0;
  const log = new FaultLog(
    (line) => lines.push(line),
    () => nowMs,
  );
  for (; nowMs < 20_500; nowMs += 100) log.add(new Error(`no ${nowMs}`), 'a timer');
  assert.equal(lines.length, 3);
  assert.match(lines[0]!, /^onehop: internal error in a timer: Error: no 0 \| at /);
  assert.match(
    lines[1]!,
    /^onehop: internal error in a timer \(and 99 more like it\): Error: no 10000/,
  );
  log.add(new Error('other'), 'another timer');
  assert.equal(lines.length, 4);
  assert.ok(lines.every((line) => !line.includes('\n')));
});

test('whatever is thrown is a line, and a log that cannot be written throws nothing', () => {
  const cause = new Error('deep');
  assert.match(faultLine(new Error('top', { cause })), /top.*caused by .*deep/);
  for (const odd of [undefined, null, 7, 'text', { a: 1 }, new Error('x'.repeat(100_000))]) {
    const line = faultLine(odd);
    assert.ok(line.length < 3000 && !line.includes('\n'));
  }
  const hostile = {
    toString() {
      throw new Error('no text');
    },
  };
  new FaultLog(() => assert.fail('there is no text')).add(hostile, 'a hook');
  new FaultLog(() => {
    throw new Error('closed');
  }).add(new Error('lost'), 'a hook');
  // Messages differ, places do not: the number of kinds is bounded by our code, not by callers.
  const lines: string[] = [];
  const log = new FaultLog((line) => lines.push(line));
  for (let i = 0; i < 5000; i++) log.add(i, `hook ${i}`);
  assert.ok(lines.length <= 201, `${lines.length} lines`);
});
