import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseLatency, sampleLatency } from './latency.ts';
import { RandomSource } from './uuid.ts';

function draw(text: string, count = 20_000): Float64Array {
  const random = new RandomSource(11);
  const spec = parseLatency(text);
  return Float64Array.from({ length: count }, () => sampleLatency(spec, random)).sort();
}
const mean = (values: Float64Array) =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

test('a bare number is a fixed latency', () => {
  assert.deepEqual(parseLatency('20'), { kind: 'fixed', ms: 20 });
  assert.deepEqual(parseLatency('fixed:0.5'), { kind: 'fixed', ms: 0.5 });
});

test('uniform stays in its range and fills it', () => {
  const values = draw('uniform:10-30');
  assert.ok(values[0]! >= 10 && values[0]! < 10.1);
  assert.ok(values.at(-1)! < 30 && values.at(-1)! > 29.9);
  assert.ok(Math.abs(mean(values) - 20) < 0.2);
});

test('exponential has its mean, and its standard deviation equals it', () => {
  const values = draw('exponential:20');
  const average = mean(values);
  assert.ok(Math.abs(average - 20) < 0.6, `${average}`);
  const deviation = Math.sqrt(mean(values.map((value) => (value - average) ** 2)));
  assert.ok(Math.abs(deviation - 20) < 1, `${deviation}`);
});

test('lognormal has its median and its spread', () => {
  const values = draw('lognormal:20,0.5');
  assert.ok(Math.abs(values[10_000]! - 20) < 0.5, `${values[10_000]}`);
  // One standard deviation up is the 84.13th percentile: 20 * e^0.5.
  assert.ok(Math.abs(values[16_827]! - 20 * Math.exp(0.5)) < 1, `${values[16_827]}`);
});

test('the same seed draws the same times', () => {
  assert.deepEqual(draw('lognormal:5,1', 50), draw('lognormal:5,1', 50));
});

for (const text of [
  '',
  '-1',
  'x',
  'uniform:30-10',
  'uniform:3',
  'lognormal:3',
  'fixed:1,2',
  '1e9',
  'gauss:3',
]) {
  test(`"${text}" is refused with the accepted forms`, () => {
    assert.throws(() => parseLatency(text), /is no latency; use 20, fixed:20/);
  });
}
