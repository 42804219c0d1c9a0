import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  Histogram,
  LineLog,
  mergeSnapshots,
  renderPrometheus,
  SnapshotWriter,
  totalsOf,
} from './index.ts';

function snapshot(requests: number, durationsMs: number[], up: number) {
  const out = new SnapshotWriter();
  const histogram = new Histogram([1, 10]);
  for (const ms of durationsMs) histogram.record(ms);
  out.number('onehop_requests_total', requests, '/v1/*', 'a"b', '2xx');
  out.histogram('onehop_queue_wait_seconds', histogram, 'llm');
  out.number('onehop_target_up', up, 'llm', 'http://a');
  return out.snapshot;
}

test('a histogram puts a value on a bound below it, and what is beyond the last in the last', () => {
  const histogram = new Histogram([1, 10]);
  for (const ms of [0, 1, 1.001, 10, 11, -0.5]) histogram.record(ms);
  assert.deepEqual([...histogram.counts], [3, 2, 1]);
  assert.ok(Math.abs(histogram.sumMs - 23.001) < 1e-9);
});

test('the text format has cumulative buckets in seconds and escaped labels', () => {
  const text = renderPrometheus(snapshot(3, [0.5, 5, 50], 1));
  assert.match(text, /^# TYPE onehop_requests_total counter$/m);
  assert.match(
    text,
    /^onehop_requests_total\{route="\/v1\/\*",upstream="a\\"b",status="2xx"\} 3$/m,
  );
  assert.match(text, /^onehop_queue_wait_seconds_sum\{upstream="llm"\} 0\.0555$/m);
  assert.match(text, /^onehop_queue_wait_seconds_count\{upstream="llm"\} 3$/m);
  assert.ok(text.endsWith('\n'));
});

test('workers are added up, and a target is only up when every worker says so', () => {
  const merged = mergeSnapshots([snapshot(3, [0.5], 1), snapshot(4, [50], 0)]);
  assert.equal(merged.onehop_requests_total?.[0]?.[1], 7);
  assert.deepEqual(merged.onehop_queue_wait_seconds?.[0]?.[1], { counts: [1, 0, 1], sumMs: 50.5 });
  assert.equal(merged.onehop_target_up?.[0]?.[1], 0);
  assert.equal(totalsOf(merged).onehop_target_up, undefined);
  assert.equal(totalsOf(merged).onehop_requests_total?.length, 1);
});

test('a sample with labels that the catalogue does not know is refused', () => {
  assert.throws(() => new SnapshotWriter().number('onehop_ready', 1, 'extra'), TypeError);
});

test('a log is written in order, reopened after rotation, and drops what exceeds its bound', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'onehop-log-'));
  try {
    const path = join(dir, 'access.log');
    const log = new LineLog(path, { bytesMax: 64 });
    for (let i = 0; i < 5; i++) log.add(`line ${i}`);
    await log.flush();
    renameSync(path, `${path}.1`);
    log.add('before the reopening');
    log.reopen();
    await log.flush();
    log.add('after');
    await log.flush();
    assert.equal(
      readFileSync(`${path}.1`, 'utf8'),
      'line 0\nline 1\nline 2\nline 3\nline 4\nbefore the reopening\n',
    );
    assert.equal(readFileSync(path, 'utf8'), 'after\n');
    for (let i = 0; i < 20; i++) log.add('0123456789');
    assert.equal(log.dropped, 15);
    await log.close();
    assert.equal(readFileSync(path, 'utf8').split('\n').length, 7);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
