import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DeadlineWheel } from '../../core/index.ts';
import { createSimTransport } from '../../transport/sim/transport.ts';
import { connectionsBound } from './places.ts';
import { type LimitPlace, LimitReporter } from './reporter.ts';

const place: LimitPlace = {
  key: 'limits.connectionsPerAddress',
  what: 'connection',
  did: 'refused',
  value: 256,
  unit: 'count',
  advice: 'raise it',
};

function reporter() {
  const { clock } = createSimTransport({ seed: 1 });
  const lines: string[] = [];
  const wheel = new DeadlineWheel(clock);
  return { clock, lines, limits: new LimitReporter(wheel, ({ text }) => lines.push(text)) };
}

test('the first is told at once, those of ten seconds in one line, and then no more', () => {
  const { clock, lines, limits } = reporter();
  limits.hit(place, 503, '10.0.0.7');
  assert.deepEqual(lines.splice(0), [
    'limit: 1 connection refused (503) so far: limits.connectionsPerAddress is 256 (from 10.0.0.7); raise it',
  ]);
  for (let i = 0; i < 37; i++) limits.hit(place, 503, i % 3 === 0 ? '10.0.0.8' : '10.0.0.7');
  assert.deepEqual(lines, []);
  clock.advance(9990);
  assert.deepEqual(lines, []);
  clock.advance(20);
  assert.deepEqual(lines.splice(0), [
    'limit: 37 connections refused (503) in 10 s: limits.connectionsPerAddress is 256 (most from 10.0.0.7); raise it',
  ]);
  // A window without any: the next one is the first again.
  clock.advance(10_010);
  assert.deepEqual(lines, []);
  limits.hit(place, 503, '');
  assert.match(
    lines.splice(0).join(),
    /^limit: 1 connection refused \(503\) so far: [^(]*; raise it$/,
  );
  assert.deepEqual(limits.totals(), [[place.key, 39]]);
  assert.equal(clock.pending > 0, true);
});

test('what was not told yet is told when the gateway ends, and nothing waits any more', () => {
  const { clock, lines, limits } = reporter();
  for (let i = 0; i < 3; i++) limits.hit(place, 503, '');
  clock.advance(2000);
  limits.close();
  assert.equal(lines.length, 2);
  assert.match(lines[1]!, /^limit: 2 connections refused \(503\) in 2 s: /);
  clock.advance(100_000);
  assert.equal(lines.length, 2);
});

test('each limit has its own ten seconds, and its value is the one in force', () => {
  const { clock, lines, limits } = reporter();
  limits.hit(place, 503, '');
  limits.hit(
    { ...place, key: 'limits.body', what: 'request', value: 2 << 20, unit: 'bytes' },
    413,
    '',
  );
  assert.match(
    lines.splice(0).join('|'),
    /is 256; .*\|limit: 1 request refused \(413\) .* is 2MiB; /,
  );
  limits.hit({ ...place, value: 300 }, 503, '');
  clock.advance(10_010);
  assert.match(lines.join(), /is 300; /);
});

test('nothing that is in a line can end it or move the cursor', () => {
  const { lines, limits } = reporter();
  const key = 'routes[0]\u001b[2J\r\nonehop: all is well\u2028.bodyMax';
  limits.hit({ ...place, key }, 413, 'fe80::1%eth0\n');
  assert.match(lines[0]!, /^[\x20-\x7e]+$/);
  assert.match(lines[0]!, /routes\[0\]\\x1b\[2J\\x0d\\x0aonehop: all is well\\u2028\.bodyMax/);
});

test('a flood from everywhere is counted with little memory', () => {
  const { clock, lines, limits } = reporter();
  limits.hit(place, 503, '10.0.0.1');
  for (let i = 0; i < 100_000; i++)
    limits.hit(place, 503, `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`);
  clock.advance(10_010);
  assert.match(lines[1]!, /^limit: 100000 connections/);
});

test('the bound of all connections says what it comes from', () => {
  const own = connectionsBound(5, 1000);
  assert.deepEqual([own.max, own.value], [5, '5']);
  const standard = connectionsBound(null, 1000);
  const huge = connectionsBound(1e9, 1000);
  // Where the system does not tell the open files, both are what they are.
  if (process.platform !== 'linux') return;
  assert.match(standard.value, new RegExp(`^${standard.max}, as \\d+ open files allow$`));
  assert.match(huge.value, new RegExp(`^1000000000, of which \\d+ open files allow ${huge.max}$`));
  assert.match(huge.advice, /ulimit -n/);
});
