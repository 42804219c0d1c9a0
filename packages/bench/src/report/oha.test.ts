import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { OhaCell, OhaJson, OhaStudy } from '../load/oha-types.ts';
import { ohaSentence, writeOhaReport } from './oha.ts';

const dir = mkdtempSync(join(tmpdir(), 'onehop-oha-'));
after(() => rmSync(dir, { recursive: true, force: true }));

const CONNECTIONS = [2, 10, 50, 200, 1000];

function cell(client: string, requests: number, connections: number): OhaCell {
  const rate = (client === 'httpx' ? 10 : 1370) * (1 - 1 / (connections + 2));
  return {
    file: `${client}_${requests}_${connections}.json`,
    client,
    requests,
    connections,
    versions: '1.6-1.8',
    correctionSuspect: false,
    requestsPerS: rate,
    averageMs: (connections / rate) * 1000,
    fastestMs: 1,
    slowestMs: 9000,
    percentilesMs: { p50: (connections / rate) * 900, p99: (connections / rate) * 2000 },
    successRate: client === 'httpx' && connections === 1000 ? 0.93 : 1,
    statusCounts: { 200: requests },
    errorCounts: {},
    notes: [],
    raw: {} as OhaJson,
  };
}

const study = (clients: string[]): OhaStudy => ({
  directory: dir,
  cells: clients.flatMap((client) =>
    [500, 10_000].flatMap((n) => CONNECTIONS.map((c) => cell(client, n, c))),
  ),
  clients,
  requestCounts: [500, 10_000],
  connectionCounts: CONNECTIONS,
  skipped: [{ file: 'broken.json', reason: 'not JSON' }],
  notes: [],
});

test('an oha study is drawn without a verdict', () => {
  const out = join(dir, 'out');
  const files = writeOhaReport(study(['aiohttp', 'httpx']), out);
  const html = readFileSync(files.html, 'utf8');
  assert.match(html, /No verdict: 20 cells of 2 clients, one run each, so no interval/);
  assert.match(html, /at n=10,000, c=50 aiohttp answered 1,344 requests\/s and httpx 9\.81/);
  const shown = html.replace(/<(script|style)[^>]*>.*?<\/\1>/gs, '');
  assert.doesNotMatch(shown, /NaN|undefined|faster|slower than|best client/);
  assert.match(html, /93\.00 %/);
  assert.match(html, /broken\.json \(not JSON\)/);
  for (const id of ['latency-n500', 'rps-n500', 'latency-n10000', 'rps-n10000']) {
    assert.ok(existsSync(join(out, 'charts', `${id}.svg`)), id);
    assert.ok(existsSync(join(out, 'charts', `${id}.png`)), id);
  }
  const p99 = [...html.matchAll(/<tr><td>httpx<\/td><td class="n" data-v="500">.*?<\/tr>/gs)];
  assert.equal(p99.length, 5);
  assert.match(p99[0]![0], /data-v="Infinity">–/, 'no p99 of 500 requests');
});

test('too little to compare is said', () => {
  assert.equal(ohaSentence({ ...study([]), cells: [] }), 'No oha file could be read.');
  assert.match(ohaSentence(study(['aiohttp'])), /nothing can be compared/);
});
