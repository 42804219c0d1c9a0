/** `onehop bench load`; its neighbours `import` and `calibrate` have files of their own. */
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { type Command, Option } from 'commander';
import picocolors from 'picocolors';
import { CliError, ExitCode } from '../cli-error.ts';
import { writeFileAtomically } from '../results/index.ts';
import { debugRequest } from './debug.ts';
import { type LoadRequest, loadRequestOf, type RawOptions } from './options.ts';
import { progressLine } from './progress.ts';
import { spawnLoad } from './spawn.ts';
import { csvReport, textReport } from './text-report.ts';
import type { LoadResult } from './types.ts';
import { judge } from './verdict.ts';

const collect = (value: string, all: string[]): string[] => [...all, value];

/** Options of oha that exist there and not here: refused by name, not as unknown. */
const unbuilt: readonly [flags: string, what: string][] = [
  ['--rand-regex-url', 'random URLs (give a file of URLs with --urls-from-file)'],
  ['--max-repeat <n>', 'random URLs'],
  ['--dump-urls <n>', 'random URLs'],
  ['--aws-session <token>', 'AWS signing'],
  ['--aws-sigv4 <params>', 'AWS signing'],
  ['-x <proxy>', 'HTTP proxies'],
  ['--proxy-header <header>', 'HTTP proxies'],
  ['--proxy-http-version <version>', 'HTTP proxies'],
  ['--proxy-http2', 'HTTP proxies'],
  ['--vsock-addr <address>', 'VSOCK'],
  ['--http3', 'HTTP/3'],
  ['--db-url <url>', 'SQLite output (use --output-format csv)'],
  ['--worker-threads <n>', 'several threads; start several processes instead'],
];

function version(): string {
  const manifest = new URL('../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }).version;
}

function addOhaOptions(load: Command): void {
  load
    .option('-n <requests>', 'number of requests: 500, 10k, 2.6k, 1m (default 200)')
    .option('-c <connections>', 'connections; in an open loop: opened before the start', '50')
    .option('-z <duration>', 'run for a time: 10s, 3m, 1m30s')
    .option('-w, --wait-ongoing-requests-after-deadline', 'with -z: wait for what is under way')
    .option('-q <rate>', 'requests per second: an open loop, whatever the server does')
    .option('--rate <rate>', 'the same as -q')
    .option('--latency-correction', 'accepted; latency with -q always counts from the due instant')
    .option('--burst-delay <duration>', 'an open loop in bursts, one after each delay')
    .option('--burst-rate <requests>', 'requests per burst (default 1)')
    .option('--urls-from-file', 'the URL is a file of URLs, one a line, taken at random')
    .option('--no-tui', 'no live line')
    .option('--fps <n>', 'accepted; the live line is drawn at most 4 times a second')
    .option('-m, --method <method>', 'HTTP method (default GET; POST with -F)')
    .option('-H <header>', 'header "name: value", repeatable', collect, [])
    .option('-t <duration>', 'timeout of each request (default none)')
    .option('--connect-timeout <duration>', 'timeout of each connect', '5s')
    .option('-A <accept>', 'Accept header')
    .option('-d <text>', 'request body')
    .option('-D <file>', 'request body from a file')
    .option('-Z <file>', 'request bodies from the lines of a file, taken at random')
    .option(
      '-F, --form <field>',
      'multipart field name=value or name=@file, repeatable',
      collect,
      [],
    )
    .option('-T <type>', 'Content-Type header')
    .option('-a <user:password>', 'basic authentication')
    .option('--host <host>', 'Host header')
    .option('--disable-compression', 'do not ask for compressed answers')
    .option('-r, --redirect <n>', 'follow at most n redirects', '0')
    .option('--disable-keepalive', 'a connection for each request')
    .option('--ipv4', 'resolve to IPv4 only')
    .option('--ipv6', 'resolve to IPv6 only')
    .option('--no-pre-lookup', 'accepted; names are always looked up once, before the start')
    .option('--cacert <file>', 'certificates to trust (PEM)')
    .option('--cert <file>', 'client certificate (PEM), with --key')
    .option('--key <file>', 'key of the client certificate (PEM)')
    .option('--insecure', 'accept invalid certificates')
    .option('--connect-to <rule>', 'HOST:PORT:TO_HOST:TO_PORT, repeatable', collect, [])
    .option('--unix-socket <path>', 'connect to a Unix socket')
    .option('--stats-success-breakdown', 'statistics of 2xx and the rest apart as well')
    .option('--debug', 'send one request and show both messages')
    .option('-o, --output <file>', 'write the result there instead of to stdout')
    .option('--output-format <format>', 'text, json, csv or quiet')
    .option('-j, --json', 'the same as --output-format json')
    .option('-u, --time-unit <unit>', 'ns, us, ms, s, m or h in text output')
    .option('--no-color', 'no colours')
    .option('--disable-color', 'the same as --no-color')
    .option('--http2', 'HTTP/2: with prior knowledge for http, by ALPN for https')
    .option('-p, --http2-parallel <n>', 'requests at once on each HTTP/2 connection', '1')
    .option('--http-version <version>', '1.1 or 2');
  for (const [flags, what] of unbuilt) {
    load.addOption(
      new Option(flags)
        .argParser(() => {
          throw new CliError(
            `${flags.split(' ')[0]} is an option of oha that this generator does not have: ${what}`,
          );
        })
        .hideHelp(),
    );
  }
}

function addOwnOptions(load: Command): void {
  load
    .option('--poisson', 'with -q: random arrivals (seeded) instead of even ones')
    .option('--in-flight-max <n>', 'with -q: drop what is due beyond so many under way', '10000')
    .option('--warmup <n or duration>', 'requests or time left out of every figure')
    .option('--sse', 'the answers are server-sent events: time each one')
    .option('--expect-body <text>', 'every body must be this text, @file or /pattern/')
    .option('--seed <n>', 'seed of everything random', '1')
    .option('--runtime <runtime>', 'generate on auto, node or bun', 'auto')
    .option('--allow-failures', 'exit with 0 though requests failed')
    .option(
      '--fail-on <condition>',
      'exit with 3 when true: p99>50ms, rps<1000, errors>1%, success<99.9% (repeatable)',
      collect,
      [],
    )
    .option('--self-check', 'exit with 4 when the generator cannot vouch for its figures');
}

/** Commander calls no parser for flags without a value; these are looked at here. */
function rejectFlags(options: Record<string, unknown>): void {
  for (const [flags, what] of unbuilt) {
    if (flags.includes(' ')) continue;
    const name = flags.slice(2).replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
    if (options[name] === true) {
      throw new CliError(`${flags} is an option of oha that this generator does not have: ${what}`);
    }
  }
}

function render(result: LoadResult, request: LoadRequest, color: boolean): string {
  switch (request.format) {
    case 'json':
      return `${JSON.stringify(result.oha, null, 2)}\n`;
    case 'csv':
      return csvReport(result);
    case 'quiet':
      return '';
    default:
      return textReport(result, request.timeUnit, color);
  }
}

function writeResult(path: string, text: string): void {
  // Replacing by renaming is for files: a device or a pipe is written to.
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined || found.isFile()) writeFileAtomically(path, text);
  else writeFileSync(path, text);
}

async function load(target: string, options: RawOptions): Promise<void> {
  rejectFlags(options as unknown as Record<string, unknown>);
  const request = loadRequestOf(target, options, version());
  if (request.debug) {
    process.stdout.write(await debugRequest(request.plan));
    return;
  }
  const stop = new AbortController();
  const interrupt = (): void => {
    // A second Ctrl-C does not wait for the partial result; the child ends with its input.
    if (stop.signal.aborted) process.exit(ExitCode.Interrupted);
    stop.abort();
  };
  process.on('SIGINT', interrupt);
  process.on('SIGTERM', interrupt);
  const line = request.tui
    ? progressLine(request.plan, request.color && picocolors.isColorSupported)
    : null;
  let result: LoadResult;
  try {
    result = await spawnLoad(request.plan, {
      runtime: request.runtime,
      signal: stop.signal,
      ...(line === null ? {} : { onProgress: (progress) => line.show(progress) }),
    });
  } finally {
    line?.clear();
    process.off('SIGINT', interrupt);
    process.off('SIGTERM', interrupt);
  }
  const color = request.color && request.output === null && picocolors.isColorSupported;
  const text = render(result, request, color);
  if (request.output !== null) writeResult(request.output, text);
  else await new Promise<void>((done) => process.stdout.write(text, () => done()));
  const { exitCode, reasons } = judge(result, request);
  for (const reason of reasons) console.error(`onehop bench: ${reason}`);
  process.exitCode = exitCode;
}

/** `onehop bench load`: oha's command line on our own generator. */
export function registerLoad(program: Command): void {
  const command = program
    .command('load')
    .description('load a URL and report latency and throughput (like oha)')
    .argument('<url>', 'http or https URL, or a file of URLs with --urls-from-file');
  addOhaOptions(command);
  addOwnOptions(command);
  command.action(load);
}

export { registerCalibrate } from './calibrate-command.ts';
export { registerImport } from './import-command.ts';
