/**
 * `npm run bench:client`: CPU per request and requests per second of HTTP clients, side by side.
 *
 * Each round runs every contender once for each size, in a fresh process that loads no other client, warms
 * up and then measures the cells of that size in short windows: one process for all sizes would measure
 * long bodies with code that was compiled for short ones, and with the heap that those left. The order of
 * contenders is reversed each round; cells are shuffled by seed, alike for all contenders of a round. The
 * figure is the median of per-round ratios. The upstream is another process, on Bun if there.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { findBun } from 'onehop/cli/find-bun';
import { makeDirectory, writeFileAtomically } from '../results/index.ts';
import { seededRandom } from '../stats/index.ts';
import { shuffled } from '../study/random.ts';
import { executableVersion, rigFacts } from '../study/rig.ts';
import { bars, judge, rowsOf } from './client-bench-judge.ts';
import { resultText } from './client-bench-text.ts';
import type {
  BlockRequest,
  Cell,
  ClientBenchResult,
  Sample,
  Window,
} from './client-bench-types.ts';
import { contenders } from './client-contenders.ts';

/** Everything ran, but a bar was missed. */
const missedExitCode = 3;
/** Bun's fetch sends at most 256 requests at once unless told otherwise. */
const bunFetchRequestsMax = '1024';
/** Run when asked for: no bar is about it. */
const seldom = 'onehop-core-pipelined';
/** Bun's compiler takes longer to be done with everything, and its threads count as CPU. */
const warmupMsDefault = { node: '2000', bun: '4000' };

const here = dirname(fileURLToPath(import.meta.url));

const { values } = parseArgs({
  options: {
    runtime: { type: 'string', default: 'node' },
    node: { type: 'string', default: process.execPath },
    quick: { type: 'boolean', default: false },
    sizes: { type: 'string', default: '50,1024,65536,1048576' },
    concurrency: { type: 'string', default: '1,10,50,400' },
    contenders: { type: 'string' },
    baseline: { type: 'string' },
    rounds: { type: 'string' },
    'warmup-ms': { type: 'string' },
    'window-ms': { type: 'string' },
    'held-mb': { type: 'string', default: '0' },
    seed: { type: 'string', default: '1' },
    out: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) {
  console.log(`npm run bench:client -- [options]
  --runtime node|bun     runtime under test (node)
  --node PATH            another Node binary for the contenders
  --quick                2 rounds and shorter windows: a look, not a result
  --sizes LIST           response sizes in bytes (50,1024,65536,1048576)
  --concurrency LIST     requests at once (1,10,50,400)
  --contenders LIST      of ${contenders.map((each) => each.name).join(', ')}
                         (default: all but ${seldom})
  --baseline NAME        undici-request on Node, builtin-fetch on Bun
  --rounds N             at least 5 for a result (5)
  --warmup-ms N          of each process, over its cells (2000, on Bun 4000)
  --window-ms N          of each cell (250)
  --held-mb N            live objects that each process holds besides, as a program would (0)
  --seed N               of the order of the cells of a size (1)
  --out DIR              writes DIR/client-RUNTIME.json
Exits with 3 when a bar is missed: the tables at the end say which.`);
  process.exit(0);
}

function count(name: string, text: string, least: number): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < least) {
    console.error(`--${name}: a whole number of at least ${least} is needed, not ${text}`);
    process.exit(2);
  }
  return value;
}

const counts = (name: string, text: string): number[] =>
  text.split(',').map((part) => count(name, part, 1));

const runtime = values.runtime === 'bun' ? 'bun' : 'node';
const bun = findBun();
const binary = runtime === 'bun' ? bun : values.node;
const version = executableVersion(binary);
if (binary === null || version === null) {
  console.error(`${runtime === 'bun' ? 'Bun' : values.node} was not found`);
  process.exit(2);
}
const rounds = count('rounds', values.rounds ?? (values.quick ? '2' : '5'), 1);
const warmupMs = count('warmup-ms', values['warmup-ms'] ?? warmupMsDefault[runtime], 0);
const windowMs = count('window-ms', values['window-ms'] ?? (values.quick ? '150' : '250'), 1);
const heldMb = count('held-mb', values['held-mb'], 0);
const seed = count('seed', values.seed, 0);
const baseline = values.baseline ?? (runtime === 'bun' ? 'builtin-fetch' : 'undici-request');
const sizes = counts('sizes', values.sizes);
const cells: Cell[] = sizes.flatMap((sizeBytes) =>
  counts('concurrency', values.concurrency).map((concurrency) => ({ sizeBytes, concurrency })),
);

function chosenNames(): string[] {
  const possible = contenders.filter((each) => each.runtimes.includes(runtime));
  if (values.contenders === undefined) {
    return possible.map((each) => each.name).filter((name) => name !== seldom);
  }
  const names = values.contenders.split(',').filter((name) => name !== '');
  for (const name of names) {
    if (possible.some((each) => each.name === name)) continue;
    console.error(`no contender ${name} on ${runtime}; there are: ${possible.map((c) => c.name)}`);
    process.exit(2);
  }
  return names;
}

function startUpstream(): Promise<{ child: ChildProcess; port: number }> {
  const child = spawn(bun ?? process.execPath, [join(here, 'client-upstream.js')], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  return new Promise((started, reject) => {
    child.once('error', reject);
    child.once('exit', () => reject(new Error('the upstream ended')));
    child.stdout.once('data', (chunk) => started({ child, port: Number(chunk) }));
  });
}

function runBlock(request: BlockRequest): Promise<Window[]> {
  const flags = runtime === 'node' ? ['--expose-gc'] : [];
  const child = spawn(
    binary as string,
    [...flags, join(here, 'client-block.js'), JSON.stringify(request)],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, BUN_CONFIG_MAX_HTTP_REQUESTS: bunFetchRequestsMax },
    },
  );
  let text = '';
  child.stdout.on('data', (chunk) => {
    text += chunk;
  });
  return new Promise((done, reject) => {
    child.once('error', reject);
    child.once('close', (code) => {
      if (code === 0)
        done(
          text
            .trimEnd()
            .split('\n')
            .map((line) => JSON.parse(line) as Window),
        );
      else reject(new Error(`${request.contender} exited with ${code}`));
    });
  });
}

async function measureAll(names: readonly string[]): Promise<Sample[]> {
  const { child: upstream, port } = await startUpstream();
  const random = seededRandom(seed);
  const samples: Sample[] = [];
  try {
    for (let round = 0; round < rounds; round++) {
      const order = round % 2 === 0 ? names : [...names].reverse();
      const roundCells = shuffled(cells, random);
      for (const sizeBytes of sizes) {
        for (const contender of order) {
          process.stderr.write(`round ${round + 1} of ${rounds}, ${sizeBytes} B: ${contender}\n`);
          const windows = await runBlock({
            contender,
            port,
            upstreamPid: upstream.pid!,
            cells: roundCells.filter((cell) => cell.sizeBytes === sizeBytes),
            warmupMs,
            windowMs,
            heldMb,
          });
          for (const window of windows) samples.push({ contender, round, ...window });
        }
      }
    }
  } finally {
    upstream.removeAllListeners('exit');
    upstream.stdin!.end();
  }
  return samples;
}

const names = chosenNames();
const samples = await measureAll(names);
const require = createRequire(import.meta.url);
const undici = JSON.parse(readFileSync(require.resolve('undici/package.json'), 'utf8')) as {
  version: string;
};
const verdicts = judge(samples, bars[runtime]);
const result: ClientBenchResult = {
  kind: 'client-bench',
  createdAt: new Date().toISOString(),
  // Paths say nothing to a reader on another machine.
  command: ['npm run bench:client --', ...process.argv.slice(2)]
    .join(' ')
    .replace(/--(node|out)[ =]\S+/g, `--$1 ...`),
  runtime,
  version,
  upstream: bun === null ? `node ${process.versions.node}` : `bun ${executableVersion(bun)}`,
  undiciVersion: undici.version,
  machine: rigFacts({
    nodeVersion: runtime === 'node' ? version : process.versions.node,
    bunVersion: executableVersion(bun),
    pythonVersion: null,
    generator: 'bench:client',
  }),
  seed,
  rounds,
  warmupMs,
  windowMs,
  heldMb,
  baseline,
  bars: verdicts,
  rows: rowsOf(samples, names, baseline),
  samples,
};
console.log(resultText(result));
if (values.out !== undefined) {
  const name = runtime === 'bun' ? 'bun' : `node${version.split('.')[0]}`;
  const path = resolve(values.out, `client-${name}.json`);
  makeDirectory(dirname(path));
  writeFileAtomically(path, `${JSON.stringify(result)}\n`);
  console.log(`\nwritten to ${path}`);
}
if (verdicts.some((each) => !each.met)) process.exitCode = missedExitCode;
