/**
 * `npm run bench:client`: CPU per request and requests per second of HTTP clients, side by side.
 *
 * Fresh process per block, contenders interleaved, order reversed each round; the figure is the median
 * of per-round ratios against the baseline with its spread. The upstream is another process.
 */
import { type ChildProcess, fork, spawn } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism, cpus, release, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { findBun } from 'onehop/cli/find-bun';
import type { Block } from './client-block.ts';
import { contenders } from './client-contenders.ts';

/** Everything ran, but a bar was missed. */
const missedExitCode = 3;

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, '../../../..');

const { values } = parseArgs({
  options: {
    runtime: { type: 'string', default: 'node' },
    node: { type: 'string', default: process.execPath },
    sizes: { type: 'string', default: '50,1024,65536,1048576' },
    concurrency: { type: 'string', default: '1,10,50,400' },
    contenders: { type: 'string' },
    baseline: { type: 'string' },
    rounds: { type: 'string', default: '5' },
    'warmup-ms': { type: 'string', default: '500' },
    'block-ms': { type: 'string', default: '300' },
    out: { type: 'string' },
    'no-out': { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) {
  console.log(`npm run bench:client -- [options]
  --runtime node|bun     runtime under test (node)
  --node PATH            another Node binary for the contenders
  --sizes LIST           response sizes in bytes (50,1024,65536,1048576)
  --concurrency LIST     requests at once (1,10,50,400)
  --contenders LIST      all, or of ${contenders.map((each) => each.name).join(', ')}
                         (default: those that a bar is about, and onehop-core)
  --baseline NAME        undici-request on Node, builtin-fetch on Bun
  --rounds N             at least 5 for a result (5)
  --warmup-ms N, --block-ms N
  --out FILE, --no-out   where the JSON goes (lab/results/client-RUNTIME-VERSION.json)
Exits with 3 when a bar is missed: the table at the end says which.`);
  process.exit(0);
}
const runtime = values.runtime === 'bun' ? 'bun' : 'node';
const binary = runtime === 'bun' ? findBun() : values.node;
if (binary === null) throw new Error('Bun was not found');
const numbers = (text: string): number[] => text.split(',').map(Number);
const rounds = Number(values.rounds);
const baseline = values.baseline ?? (runtime === 'bun' ? 'builtin-fetch' : 'undici-request');

/** Run when asked for: no bar is about them, and a default run is to end within minutes. */
const seldom = new Set(['onehop-core-pipelined', 'undici-dispatch', 'node-http']);
const names = (
  (values.contenders === 'all' ? undefined : values.contenders?.split(',')) ??
  contenders
    .filter((each) => each.runtimes.includes(runtime))
    .filter((each) => values.contenders === 'all' || !seldom.has(each.name))
    .map((each) => each.name)
).filter((name) => name !== '');
if (!names.includes(baseline)) names.push(baseline);

function startUpstream(): Promise<{ child: ChildProcess; port: number }> {
  const child = fork(join(here, 'client-upstream.js'), {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', () => reject(new Error('the upstream ended')));
    child.once('message', (message) =>
      resolve({ child, port: (message as { port: number }).port }),
    );
  });
}

function runBlock(name: string, port: number, size: number, concurrency: number): Promise<Block> {
  const args = [name, port, size, concurrency, values['warmup-ms'], values['block-ms']].map(String);
  const child = spawn(binary as string, [join(here, 'client-block.js'), ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout.on('data', (chunk) => {
    text += chunk;
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => {
      if (code === 0) resolve(JSON.parse(text) as Block);
      else reject(new Error(`${name} (${size} B, c=${concurrency}) exited with ${code}`));
    });
  });
}

const median = (list: readonly number[]): number => {
  const sorted = [...list].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
};

interface Row {
  contender: string;
  sizeBytes: number;
  concurrency: number;
  cpuUsPerRequest: number;
  requestsPerS: number;
  /** Median, least and greatest of the per-round ratios of CPU per request to the baseline's. */
  cpuRatio: { median: number; min: number; max: number };
  requestsRatio: number;
  rssBytes: number;
  blocks: Block[];
}

const cpuPerRequest = (block: Block): number =>
  (block.cpuUserUs + block.cpuSystemUs) / block.requests;
const perSecond = (block: Block): number => (block.requests / block.wallMs) * 1000;

async function runCell(port: number, size: number, concurrency: number): Promise<Row[]> {
  const blocks = new Map<string, Block[]>(names.map((name) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (const name of round % 2 === 0 ? names : [...names].reverse()) {
      blocks.get(name)!.push(await runBlock(name, port, size, concurrency));
    }
  }
  const base = blocks.get(baseline)!;
  return names.map((name) => {
    const own = blocks.get(name)!;
    const ratios = own.map((block, i) => cpuPerRequest(block) / cpuPerRequest(base[i]!));
    return {
      contender: name,
      sizeBytes: size,
      concurrency,
      cpuUsPerRequest: median(own.map(cpuPerRequest)),
      requestsPerS: median(own.map(perSecond)),
      cpuRatio: { median: median(ratios), min: Math.min(...ratios), max: Math.max(...ratios) },
      requestsRatio: median(own.map((block, i) => perSecond(block) / perSecond(base[i]!))),
      rssBytes: median(own.map((block) => block.rssBytes)),
      blocks: own,
    };
  });
}

function versionOf(command: string): Promise<string> {
  const child = spawn(command, ['--version'], { stdio: ['ignore', 'pipe', 'ignore'] });
  let text = '';
  child.stdout.on('data', (chunk) => {
    text += chunk;
  });
  return new Promise((resolve) => {
    child.once('close', () => resolve(text.trim().replace(/^v/, '')));
  });
}

function print(rows: readonly Row[]): void {
  const first = rows[0]!;
  console.log(
    `\n${first.sizeBytes} B, c=${first.concurrency} (${rounds} rounds, against ${baseline})`,
  );
  for (const row of rows) {
    const { median: mid, min, max } = row.cpuRatio;
    console.log(
      `  ${row.contender.padEnd(22)} ${row.cpuUsPerRequest.toFixed(1).padStart(8)} us CPU/req ` +
        `${row.requestsPerS.toFixed(0).padStart(7)} req/s   CPU x${mid.toFixed(2)} ` +
        `[${min.toFixed(2)}, ${max.toFixed(2)}]`,
    );
  }
}

/** What each contender may cost of the baseline's CPU (P8, P9, and the client's bar on Bun). */
const bars: readonly {
  runtime: 'node' | 'bun';
  contender: string;
  against: string;
  most: number;
}[] = [
  { runtime: 'node', contender: 'onehop-client', against: 'undici-request', most: 0.5 },
  { runtime: 'node', contender: 'onehop-fetch', against: 'builtin-fetch', most: 0.25 },
  { runtime: 'bun', contender: 'onehop-client', against: 'builtin-fetch', most: 0.6 },
];

interface Verdict {
  contender: string;
  against: string;
  sizeBytes: number;
  concurrency: number;
  ratio: number;
  most: number;
  met: boolean;
}

/** Judges by the median of the per-round ratios; a pair that did not run is left out. */
function judge(all: readonly Row[]): Verdict[] {
  const verdicts: Verdict[] = [];
  for (const { contender, against, most } of bars.filter((each) => each.runtime === runtime)) {
    for (const row of all.filter((each) => each.contender === contender)) {
      const { sizeBytes, concurrency } = row;
      const other = all.find(
        (each) =>
          each.contender === against &&
          each.sizeBytes === sizeBytes &&
          each.concurrency === concurrency,
      );
      if (other === undefined) continue;
      const ratio = median(
        row.blocks.map((block, i) => cpuPerRequest(block) / cpuPerRequest(other.blocks[i]!)),
      );
      verdicts.push({
        contender,
        against,
        sizeBytes,
        concurrency,
        ratio,
        most,
        met: ratio <= most,
      });
    }
  }
  return verdicts;
}

function printBars(verdicts: readonly Verdict[]): void {
  const columns = numbers(values.concurrency);
  for (const { contender, against, most } of bars) {
    const own = verdicts.filter((each) => each.contender === contender && each.against === against);
    if (own.length === 0) continue;
    console.log(`\nCPU of ${contender} against ${against}: at most x${most}`);
    console.log(`  ${'bytes'.padStart(8)} ${columns.map((c) => `c=${c}`.padStart(13)).join('')}`);
    for (const size of numbers(values.sizes)) {
      const cells = columns.map((c) => {
        const found = own.find((each) => each.sizeBytes === size && each.concurrency === c);
        if (found === undefined) return '-'.padStart(13);
        return `${found.ratio.toFixed(2)} ${found.met ? 'met' : 'MISSED'}`.padStart(13);
      });
      console.log(`  ${String(size).padStart(8)} ${cells.join('')}`);
    }
  }
}

const version = await versionOf(binary);
const { child: upstream, port } = await startUpstream();
const rows: Row[] = [];
try {
  for (const size of numbers(values.sizes)) {
    for (const concurrency of numbers(values.concurrency)) {
      const cell = await runCell(port, size, concurrency);
      print(cell);
      rows.push(...cell);
    }
  }
} finally {
  upstream.removeAllListeners('exit');
  upstream.disconnect();
}

const verdicts = judge(rows);
printBars(verdicts);

const require = createRequire(import.meta.url);
const undiciVersion = (
  JSON.parse(readFileSync(require.resolve('undici/package.json'), 'utf8')) as { version: string }
).version;
const result = {
  kind: 'client-bench',
  createdAt: new Date().toISOString(),
  runtime,
  version,
  undiciVersion,
  baseline,
  rounds,
  warmupMs: Number(values['warmup-ms']),
  blockMs: Number(values['block-ms']),
  machine: {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    platform: process.platform,
    kernel: release(),
  },
  bars: verdicts,
  rows,
};
if (!values['no-out']) {
  const out = values.out ?? join(root, `lab/results/client-${runtime}-${version}.json`);
  mkdirSync(dirname(out), { recursive: true });
  writeFileSync(out, `${JSON.stringify(result, null, 2)}\n`);
  console.log(`\nwritten to ${out}`);
}
if (rounds < 5) console.log('fewer than 5 rounds: a look, not a result');
if (verdicts.some((each) => !each.met)) process.exitCode = missedExitCode;
