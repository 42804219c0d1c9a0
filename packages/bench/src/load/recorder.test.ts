import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeFromCompressedBase64 } from 'hdr-histogram-js';
import { buildOha, histogramBins } from './oha-json.ts';
import { percentileOf, sortedQuantiles, spectrum, summarise } from './percentiles.ts';
import { encodeHistogram, RateWindows, Recorder, SampleSeries } from './recorder.ts';

const upTo = (count: number): Float64Array => Float64Array.from({ length: count }, (_, i) => i + 1);

test('percentiles are the exact sample at floor(p / 100 * n), as in oha', () => {
  const values = [
    5, 5, 5, 5, 5, 10, 10, 10, 10, 10, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 12, 12, 12, 12, 12,
    12, 12, 12, 12, 12, 15, 15, 15, 15, 15, 20, 20, 20, 25, 30,
  ];
  const sorted = Float64Array.from(values);
  const taken = [10, 25, 50, 75, 90, 95, 99, 99.9].map((percent) => percentileOf(sorted, percent));
  assert.deepEqual(taken, [5, 11, 12, 15, 20, 25, 30, 30]);
});

test('p99 needs 1,000 samples and p99.9 needs 10,000', () => {
  assert.equal(summarise(sortedQuantiles(upTo(999))).p99, null);
  assert.equal(summarise(sortedQuantiles(upTo(1_000))).p99, 991);
  assert.equal(summarise(sortedQuantiles(upTo(9_999))).p999, null);
  assert.equal(summarise(sortedQuantiles(upTo(10_000))).p999, 9_991);
  assert.deepEqual(spectrum(sortedQuantiles(new Float64Array())), []);
  assert.equal(spectrum(sortedQuantiles(upTo(50))).length, 101);
});

test('beyond the exact limit a histogram takes over and stays within 0.1 percent', () => {
  const series = new SampleSeries(65_536);
  const count = 200_000;
  for (let i = 0; i < count; i++) series.push(0.05 + ((i * 7_919) % count) / 1_000);
  assert.equal(series.count, count);
  assert.equal(series.exact, false);
  const quantiles = series.quantiles();
  for (const percent of [1, 10, 50, 90, 99, 99.9]) {
    const exact = 0.05 + (percent / 100) * (count / 1_000);
    assert.ok(Math.abs(quantiles.at(percent) / exact - 1) < 0.002, `p${percent}`);
    assert.ok(Math.abs(quantiles.rankOf(exact) / count - percent / 100) < 0.002, `rank ${percent}`);
  }
  assert.ok(Math.abs(quantiles.mean - 100.05) < 0.01);
  const decoded = decodeFromCompressedBase64(encodeHistogram(series));
  assert.equal(decoded.totalCount, count);
  decoded.add(decodeFromCompressedBase64(encodeHistogram(series)));
  assert.equal(decoded.totalCount, 2 * count);
});

test('the histogram has 11 bins, the first holds the minimum, none loses a sample', () => {
  const bins = histogramBins(sortedQuantiles(upTo(11)));
  assert.equal(bins.length, 11);
  assert.ok(bins.every(({ count }) => count === 1));
  assert.equal(bins[0]!.label, 0.001);
  const random = Float64Array.from({ length: 997 }, (_, i) => Math.sin(i) + 2).sort();
  const total = histogramBins(sortedQuantiles(random)).reduce((sum, { count }) => sum + count, 0);
  assert.equal(total, 997);
});

test('rates are taken over windows of 10 ms that hold one completion at least', () => {
  const rates = new RateWindows();
  for (const end of [1, 2, 9.5, 30, 31, 35]) rates.record(end);
  rates.flush();
  // 3 in 9.5 ms; then 1 in 20.5 ms (the window starts at 9.5, the next end is beyond 10 ms); 2 in 5.
  const expected = [3 / 0.0095, 1 / 0.0205, 2 / 0.005];
  assert.deepEqual(rates.ratesPerS.map(Math.round), expected.map(Math.round));
});

test('the oha shape counts connects in, statuses apart, and writes null when nothing succeeded', () => {
  const recorder = new Recorder({ openLoop: false, keepSamples: false, successBreakdown: true });
  recorder.record(10, 10, 10, 9, 200, 4, true, 50);
  recorder.record(12, 2, 2, 1, 200, -1, false, 50);
  recorder.record(15, 3, 3, 2, 404, -1, false, 11);
  recorder.recordError('timeout');
  const extras = { durationMs: 1_000, abortedAtDeadline: 2, lookupMs: 0.5 };
  const oha = buildOha(recorder, recorder.latency.quantiles(), extras);
  assert.equal(oha.summary.successRate, 0.75);
  assert.equal(oha.summary.statusSuccessRate, 0.5);
  assert.equal(oha.summary.requestsPerSec, 4);
  assert.equal(oha.summary.totalData, 111);
  assert.equal(oha.summary.sizePerRequest, 37);
  assert.equal(oha.summary.slowest, 0.01);
  assert.deepEqual(oha.statusCodeDistribution, { '200': 2, '404': 1 });
  assert.deepEqual(oha.errorDistribution, { timeout: 1, 'aborted due to deadline': 2 });
  assert.equal(oha.latencyPercentilesNotSuccessful!['p50'], 0.003);
  assert.equal(oha.details.DNSDialup.average, 0.004);
  assert.equal(Object.keys(oha.responseTimeHistogram).length, 11);
  const keys = Object.keys(oha.latencyPercentiles);
  assert.deepEqual(keys, ['p10', 'p25', 'p50', 'p75', 'p90', 'p95', 'p99', 'p99.9', 'p99.99']);

  const nothing = new Recorder({ openLoop: false, keepSamples: false, successBreakdown: false });
  nothing.recordError('timeout');
  const empty = buildOha(nothing, nothing.latency.quantiles(), extras);
  assert.equal(empty.summary.successRate, 0);
  assert.equal(empty.summary.average, null);
  assert.equal(empty.latencyPercentiles['p50'], null);
  assert.equal('latencyPercentilesSuccessful' in empty, false);
  assert.doesNotThrow(() => JSON.parse(JSON.stringify(empty)));
});
