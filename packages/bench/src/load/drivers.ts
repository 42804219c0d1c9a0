/** Other load generators, when they are on PATH: run on the same plan, read into one shape. */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CliError } from '../cli-error.ts';
import type { OhaJson } from './oha-types.ts';
import { sortedQuantiles } from './percentiles.ts';
import type { LoadPlan, LoadResult } from './types.ts';

/** What every generator can tell. Latencies in ms; null where the tool keeps it to itself. */
export type DriverResult = Pick<
  LoadResult,
  'generator' | 'completed' | 'requestsPerS' | 'durationMs'
> & {
  p50Ms: number | null;
  p99Ms: number | null;
  meanMs: number | null;
  maxMs: number | null;
  /** Requests that failed or were not answered with 2xx. */
  failed: number;
};

export interface DriverOptions {
  /** Words in front of the command, for example `taskset -c 1`. */
  launcher?: readonly string[];
}

/** First line of `<tool> --version`, or null when it is not on PATH. */
export function toolVersion(tool: 'oha' | 'wrk' | 'h2load'): string | null {
  const { stdout, stderr, error } = spawnSync(tool, ['--version'], { encoding: 'utf8' });
  if (error !== undefined) return null;
  const line = `${stdout}${stderr}`.trim().split('\n')[0] ?? '';
  return `${tool} ${/\d+\.\d+(\.\d+)?/.exec(line)?.[0] ?? 'of unknown version'}`;
}

function run(tool: string, args: readonly string[], options: DriverOptions): Promise<string> {
  const [command, ...words] = [...(options.launcher ?? []), tool, ...args];
  return new Promise((resolve, reject) => {
    const child = spawn(command!, words, { stdio: ['ignore', 'pipe', 'pipe'] });
    const end = (): void => void child.kill('SIGKILL');
    process.once('exit', end);
    let out = '';
    let err = '';
    child.stdout.on('data', (chunk: Buffer) => {
      out += chunk.toString('utf8');
    });
    child.stderr.on('data', (chunk: Buffer) => {
      err += chunk.toString('utf8');
    });
    child.on('error', () => reject(new CliError(`${tool} is not on PATH`)));
    child.on('close', (code) => {
      process.off('exit', end);
      if (code === 0) resolve(out);
      else reject(new CliError(`${tool} ended with code ${code}: ${err.trim().split('\n')[0]}`));
    });
  });
}

/** Drivers cover what all tools share; the rest of a plan would be silently ignored. */
function refuseWhatDiffers(tool: string, plan: LoadPlan): void {
  const refuse = (what: string): never => {
    throw new CliError(`the ${tool} driver cannot run a plan with ${what}`);
  };
  if (plan.ratePerS !== null || plan.burst !== null) refuse('a rate');
  if (plan.sse) refuse('server-sent events');
  if (plan.moreUrls.length > 0 || plan.bodies.length > 0) refuse('several URLs or bodies');
  if (plan.body !== null && tool !== 'oha') refuse('a body');
  if (!plan.keepAlive && tool !== 'oha') refuse('keep-alive off');
  if (plan.http2 && tool === 'wrk') refuse('HTTP/2');
}

const headerArguments = (plan: LoadPlan): string[] =>
  plan.headers.flatMap(([name, value]) => ['-H', `${name}: ${value}`]);

const seconds = (ms: number): number => Math.max(1, Math.round(ms / 1_000));

/** Runs oha 1.9 or later. */
export async function runOha(plan: LoadPlan, options: DriverOptions = {}): Promise<DriverResult> {
  refuseWhatDiffers('oha', plan);
  const args = ['--no-tui', '--output-format', 'json', '-c', String(plan.connections)];
  if (plan.requests !== null) args.push('-n', String(plan.requests));
  if (plan.durationMs !== null) args.push('-z', `${Math.round(plan.durationMs)}ms`);
  if (plan.body !== null) args.push('-d', Buffer.from(plan.body).toString('utf8'));
  if (!plan.keepAlive) args.push('--disable-keepalive');
  if (plan.http2) args.push('--http2', '-p', String(plan.streamsPerConnection));
  args.push('-m', plan.method, '--disable-compression', ...headerArguments(plan), plan.url);
  const parsed = JSON.parse(await run('oha', args, options)) as OhaJson;
  const statuses = Object.entries(parsed.statusCodeDistribution);
  const completed = statuses.reduce((sum, [, count]) => sum + count, 0);
  const good = statuses.reduce((sum, [code, n]) => sum + (code.startsWith('2') ? n : 0), 0);
  const errors = Object.entries(parsed.errorDistribution)
    .filter(([text]) => text !== 'aborted due to deadline')
    .reduce((sum, [, count]) => sum + count, 0);
  const total = parsed.summary.total ?? 0;
  const inMs = (value: number | null | undefined): number | null =>
    value == null ? null : value * 1_000;
  return {
    generator: toolVersion('oha')!,
    completed,
    // Its own figure counts what the deadline cut off.
    requestsPerS: total > 0 ? completed / total : 0,
    durationMs: total * 1_000,
    p50Ms: inMs(parsed.latencyPercentiles['p50']),
    p99Ms: inMs(parsed.latencyPercentiles['p99']),
    meanMs: inMs(parsed.summary.average),
    maxMs: inMs(parsed.summary.slowest),
    failed: completed - good + errors,
  };
}

const WRK_UNITS: Record<string, number> = { us: 1e-3, ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

function wrkTime(text: string | undefined): number | null {
  const match = /^([\d.]+)(us|ms|s|m|h)$/.exec(text ?? '');
  return match === null ? null : Number(match[1]) * WRK_UNITS[match[2]!]!;
}

/** Reads what `wrk --latency` printed. */
export function parseWrk(text: string, generator: string): DriverResult {
  const requests = /(\d+) requests in ([\d.]+(?:us|ms|s|m|h)),/.exec(text);
  const rate = /Requests\/sec:\s+([\d.]+)/.exec(text);
  if (requests === null || rate === null) throw new CliError('wrk printed no result');
  const percentile = (percent: number): number | null =>
    wrkTime(new RegExp(`^\\s+${percent}%\\s+(\\S+)$`, 'm').exec(text)?.[1]);
  const latency = /Latency\s+(\S+)\s+\S+\s+(\S+)/.exec(text);
  const socket = /connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(text);
  const bad = /Non-2xx or 3xx responses: (\d+)/.exec(text);
  const errors = socket === null ? 0 : socket.slice(1).reduce((sum, n) => sum + Number(n), 0);
  return {
    generator,
    completed: Number(requests[1]),
    requestsPerS: Number(rate[1]),
    durationMs: wrkTime(requests[2]) ?? 0,
    p50Ms: percentile(50),
    p99Ms: percentile(99),
    meanMs: wrkTime(latency?.[1]),
    maxMs: wrkTime(latency?.[2]),
    failed: errors + Number(bad?.[1] ?? 0),
  };
}

/** Runs wrk on one thread; it knows durations only, of whole seconds. */
export async function runWrk(plan: LoadPlan, options: DriverOptions = {}): Promise<DriverResult> {
  refuseWhatDiffers('wrk', plan);
  if (plan.durationMs === null) throw new CliError('the wrk driver needs a duration');
  if (plan.method !== 'GET') throw new CliError('the wrk driver sends GET only');
  const args = ['-t1', `-c${plan.connections}`, `-d${seconds(plan.durationMs)}s`, '--latency'];
  args.push(...headerArguments(plan), plan.url);
  return parseWrk(await run('wrk', args, options), toolVersion('wrk')!);
}

/** Runs h2load on one thread; percentiles come from its log of every request. */
export async function runH2load(
  plan: LoadPlan,
  options: DriverOptions = {},
): Promise<DriverResult> {
  refuseWhatDiffers('h2load', plan);
  if (plan.method !== 'GET') throw new CliError('the h2load driver sends GET only');
  const folder = mkdtempSync(join(tmpdir(), 'onehop-h2load-'));
  try {
    const log = join(folder, 'requests.tsv');
    const protocol = plan.http2 ? `-m${plan.streamsPerConnection}` : '--h1';
    const args = [protocol, '-t1', `-c${plan.connections}`, `--log-file=${log}`];
    if (plan.requests !== null) args.push('-n', String(plan.requests));
    else args.push('-D', String(seconds(plan.durationMs!)));
    const text = await run('h2load', [...args, ...headerArguments(plan), plan.url], options);
    const finished = /finished in ([\d.]+(?:us|ms|s|m|h)), ([\d.]+) req\/s/.exec(text);
    if (finished === null) throw new CliError('h2load printed no result');
    const rows = readFileSync(log, 'utf8').trim().split('\n');
    const columns = rows.map((row) => row.split('\t')).filter((row) => row.length >= 3);
    const times = Float64Array.from(columns, (row) => Number(row[2]) / 1_000).sort();
    const quantiles = sortedQuantiles(times);
    return {
      generator: toolVersion('h2load')!,
      completed: times.length,
      requestsPerS: Number(finished[2]),
      durationMs: wrkTime(finished[1]) ?? 0,
      p50Ms: times.length === 0 ? null : quantiles.at(50),
      p99Ms: times.length === 0 ? null : quantiles.at(99),
      meanMs: times.length === 0 ? null : quantiles.mean,
      maxMs: times.length === 0 ? null : quantiles.at(100),
      failed: columns.filter((row) => !row[1]!.startsWith('2')).length,
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Our own result in the same shape. */
export function driverResultOf(result: LoadResult): DriverResult {
  const { latencyMs } = result;
  const errors = Object.values(result.errorCounts).reduce((sum, count) => sum + count, 0);
  return {
    generator: result.generator,
    completed: result.completed,
    requestsPerS: result.requestsPerS,
    durationMs: result.durationMs,
    p50Ms: latencyMs.p50,
    p99Ms: latencyMs.p99,
    meanMs: latencyMs.mean,
    maxMs: latencyMs.max,
    failed: errors + result.completed - result.valid,
  };
}
