import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { CliError } from '../cli-error.ts';
import { readOhaDirectory } from './oha-reader.ts';

/** What oha 0.5.4 wrote: percentiles to p99 only, no first byte, no metrics. */
const oldest = {
  summary: {
    successRate: 1,
    total: 2,
    slowest: 0.05,
    fastest: 0.001,
    average: 0.01,
    requestsPerSec: 250,
    totalData: 25_000,
    sizePerRequest: 50,
    sizePerSec: 12_500,
  },
  responseTimeHistogram: { '0.001': 1, '0.01': 499 },
  latencyPercentiles: { p10: 0.002, p50: 0.009, p99: 0.04 },
  rps: { mean: 250, stddev: 10, max: 270, min: 240, percentiles: { p50: 250 } },
  details: {
    DNSDialup: { average: 0.001, fastest: 0.001, slowest: 0.001 },
    DNSLookup: { average: 0.001, fastest: 0.001, slowest: 0.001 },
  },
  statusCodeDistribution: { '200': 500 },
  errorDistribution: {},
};

function inDirectory(files: Record<string, unknown>, check: (directory: string) => void): void {
  const directory = mkdtempSync(join(tmpdir(), 'onehop-oha-'));
  try {
    for (const [name, content] of Object.entries(files)) {
      const text = typeof content === 'string' ? content : JSON.stringify(content);
      writeFileSync(join(directory, name), text);
    }
    check(directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

test('cells of every age are read, told apart by their shape and put in order', () => {
  const percentiles = { ...oldest.latencyPercentiles, 'p99.9': 0.05, 'p99.99': 0.05 };
  const middle = { ...oldest, latencyPercentiles: percentiles };
  const firstByte = { average: 0.01, fastest: 0.01, slowest: 0.01 };
  const newer = { ...middle, details: { ...oldest.details, firstByte } };
  const newest = { ...newer, metrics: { success_rate: 1 } };
  const files = {
    'httpx_500_10.json': oldest,
    'httpx_500_2.json': middle,
    'aio_http_1000_2.json': newer,
    'aio_http_500_2.json': newest,
  };
  inDirectory(files, (directory) => {
    const study = readOhaDirectory(directory);
    assert.deepEqual(
      study.cells.map((cell) => [cell.client, cell.requests, cell.connections, cell.versions]),
      [
        ['aio_http', 500, 2, '1.15 or later'],
        ['aio_http', 1_000, 2, '1.13-1.14'],
        ['httpx', 500, 2, '0.6.4-1.12'],
        ['httpx', 500, 10, '0.5.4-0.6.3'],
      ],
    );
    assert.deepEqual(study.clients, ['aio_http', 'httpx']);
    assert.deepEqual(study.requestCounts, [500, 1_000]);
    assert.deepEqual(study.connectionCounts, [2, 10]);
    assert.deepEqual(
      study.cells.map((cell) => cell.correctionSuspect),
      [false, true, true, false],
    );
    assert.match(study.notes.join(' '), /wrong way round/);
    const cell = study.cells[3]!;
    assert.equal(cell.averageMs, 10);
    assert.equal(cell.percentilesMs['p99'], 40);
    assert.equal(cell.requestsPerS, 250);
    assert.deepEqual(cell.notes, []);
  });
});

test('a run in which nothing succeeded has nulls and says so', () => {
  const failed = {
    ...oldest,
    summary: { ...oldest.summary, successRate: 0, slowest: null, fastest: null, average: null },
    responseTimeHistogram: { NaN: 0 },
    latencyPercentiles: { p10: null, p50: null, p99: null },
    statusCodeDistribution: {},
    errorDistribution: { 'connection refused': 500 },
  };
  inDirectory({ 'httpx_500_10.json': failed }, (directory) => {
    const cell = readOhaDirectory(directory).cells[0]!;
    assert.equal(cell.averageMs, null);
    assert.equal(cell.percentilesMs['p50'], null);
    assert.match(cell.notes.join(' '), /500 requests failed/);
    assert.match(cell.notes.join(' '), /No request succeeded/);
  });
});

test('what oha hides is said: bad statuses, deadline aborts, connects among the samples', () => {
  const cell = {
    ...oldest,
    statusCodeDistribution: { '200': 400, '502': 90 },
    errorDistribution: { 'aborted due to deadline': 10 },
  };
  inDirectory({ 'httpx_500_100.json': cell, 'httpx_50_100.json': oldest }, (directory) => {
    const [small, large] = readOhaDirectory(directory).cells;
    const notes = large!.notes.join(' ');
    assert.match(notes, /90 x 502/);
    assert.match(notes, /cut off by the deadline/);
    assert.match(notes, /20 % of the samples contain the opening/);
    assert.doesNotMatch(notes, /requests failed/);
    assert.match(small!.notes.join(' '), /Only 50 of 100 connections/);
  });
});

test('what is no result is listed with its reason, and nothing usable is one sentence', () => {
  const files = {
    'httpx_500_10.json': oldest,
    'broken_500_10.json': '{"summary":',
    'other_500_10.json': { hello: 1 },
    'notes.json': {},
    'readme.txt': 'x',
  };
  inDirectory(files, (directory) => {
    const { skipped, cells } = readOhaDirectory(directory);
    assert.equal(cells.length, 1);
    assert.deepEqual(
      skipped.map(({ file }) => file),
      ['broken_500_10.json', 'notes.json', 'other_500_10.json'],
    );
    assert.match(skipped[0]!.reason, /not valid JSON/);
  });
  inDirectory({ 'notes.json': {} }, (directory) => {
    assert.throws(() => readOhaDirectory(directory), CliError);
  });
  assert.throws(() => readOhaDirectory('/nonexistent/onehop'), /does not exist/);
});
