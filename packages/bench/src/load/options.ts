/** From oha's command line to a plan. */
import { accessSync, constants, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { CliError } from '../cli-error.ts';
import { multipartBody, readNamed } from './multipart.ts';
import { defaultPlan } from './plan.ts';
import { parseTarget } from './request.ts';
import type { LoadRuntime } from './spawn.ts';
import type { LoadPlan } from './types.ts';
import {
  parseChoice,
  parseConnectTo,
  parseCount,
  parseDurationMs,
  parseHeader,
  parsePositive,
  parseThreshold,
  parseWhole,
  type Threshold,
} from './values.ts';

export const timeUnits = ['ns', 'us', 'ms', 's', 'm', 'h'] as const;
export type TimeUnit = (typeof timeUnits)[number];
const formats = ['text', 'json', 'csv', 'quiet'] as const;

/** What commander collects, by flag. */
export interface RawOptions {
  n?: string;
  c: string;
  z?: string;
  waitOngoingRequestsAfterDeadline?: boolean;
  q?: string;
  rate?: string;
  poisson?: boolean;
  burstDelay?: string;
  burstRate?: string;
  urlsFromFile?: boolean;
  latencyCorrection?: boolean;
  tui: boolean;
  fps?: string;
  method?: string;
  H: string[];
  t?: string;
  connectTimeout: string;
  A?: string;
  d?: string;
  D?: string;
  Z?: string;
  form: string[];
  T?: string;
  a?: string;
  host?: string;
  disableCompression?: boolean;
  redirect: string;
  disableKeepalive?: boolean;
  ipv4?: boolean;
  ipv6?: boolean;
  cacert?: string;
  cert?: string;
  key?: string;
  insecure?: boolean;
  connectTo: string[];
  color: boolean;
  disableColor?: boolean;
  unixSocket?: string;
  statsSuccessBreakdown?: boolean;
  debug?: boolean;
  output?: string;
  outputFormat?: string;
  json?: boolean;
  timeUnit?: string;
  http2Parallel: string;
  http2?: boolean;
  httpVersion?: string;
  warmup?: string;
  sse?: boolean;
  expectBody?: string;
  runtime: string;
  inFlightMax: string;
  allowFailures?: boolean;
  failOn: string[];
  selfCheck?: boolean;
  seed: string;
}

export interface LoadRequest {
  plan: LoadPlan;
  runtime: LoadRuntime;
  format: (typeof formats)[number];
  output: string | null;
  timeUnit: TimeUnit | null;
  color: boolean;
  tui: boolean;
  debug: boolean;
  allowFailures: boolean;
  thresholds: Threshold[];
  /** Exit with 4 when the generator's self-check finds a reason not to conclude. */
  selfCheck: boolean;
}

/** Lines of a file that are not empty. */
function linesOf(flag: string, path: string): string[] {
  const lines = readNamed(flag, path)
    .toString('utf8')
    .split('\n')
    .map((line) => line.replace(/\r$/, ''))
    .filter((line) => line !== '');
  if (lines.length === 0) throw new CliError(`${flag}: ${path} has no line`);
  return lines;
}

function urlsOf(target: string, fromFile: boolean): string[] {
  const urls = fromFile ? linesOf('--urls-from-file', target) : [target];
  return urls.map((text) => {
    // oha takes `localhost:8000` for http://localhost:8000 only with a scheme; so do we.
    return parseTarget(text).href;
  });
}

function bodyOf(options: RawOptions): Pick<LoadPlan, 'body' | 'bodies'> & { contentType: string } {
  const given = [options.d, options.D, options.Z, options.form[0]].filter(
    (value) => value !== undefined,
  );
  if (given.length > 1) throw new CliError('only one of -d, -D, -Z and -F can be given');
  let contentType = '';
  let body: Buffer | null = null;
  let bodies: Buffer[] = [];
  if (options.d !== undefined) body = Buffer.from(options.d, 'utf8');
  else if (options.D !== undefined) body = readNamed('-D', options.D);
  else if (options.Z !== undefined)
    bodies = linesOf('-Z', options.Z).map((line) => Buffer.from(line));
  else if (options.form.length > 0) ({ body, contentType } = multipartBody(options.form));
  return { body, bodies, contentType };
}

function headersOf(
  options: RawOptions,
  contentType: string,
  version: string,
): [name: string, value: string][] {
  const own = options.H.map((text) => parseHeader('-H', text));
  const names = new Set(own.map(([name]) => name.toLowerCase()));
  const headers: [string, string][] = [];
  const add = (name: string, value: string): void => {
    if (!names.has(name)) headers.push([name, value]);
  };
  if (options.host !== undefined) add('host', options.host);
  add('user-agent', `onehop-bench/${version}`);
  add('accept', options.A ?? (options.sse === true ? 'text/event-stream' : '*/*'));
  // Bodies are compared and events are found as they are sent, so neither may come compressed.
  const plain = options.disableCompression || options.sse || options.expectBody !== undefined;
  if (!plain) add('accept-encoding', 'gzip, compress, deflate, br');
  const type = options.T ?? contentType;
  if (type !== '') add('content-type', type);
  if (options.a !== undefined) {
    if (!options.a.includes(':')) throw new CliError(`-a takes username:password`);
    add('authorization', `Basic ${Buffer.from(options.a, 'utf8').toString('base64')}`);
  }
  return [...headers, ...own];
}

/** A warm-up is a number of requests or a time. */
function warmupOf(text: string | undefined): Pick<LoadPlan, 'warmupRequests' | 'warmupMs'> {
  if (text === undefined) return { warmupRequests: 0, warmupMs: 0 };
  if (/^[\d.]+[kK]?$/.test(text)) {
    return { warmupRequests: parseCount('--warmup', text), warmupMs: 0 };
  }
  return { warmupRequests: 0, warmupMs: parseDurationMs('--warmup', text) };
}

/** `--expect-body TEXT`, `@FILE` for bytes of a file, `/PATTERN/` for a regular expression. */
function expectationOf(
  text: string | undefined,
): Pick<LoadPlan, 'expectBody' | 'expectBodyPattern'> {
  if (text === undefined) return { expectBody: null, expectBodyPattern: null };
  if (text.length > 2 && text.startsWith('/') && text.endsWith('/')) {
    return { expectBody: null, expectBodyPattern: text.slice(1, -1) };
  }
  const bytes = text.startsWith('@')
    ? readNamed('--expect-body', text.slice(1))
    : Buffer.from(text, 'utf8');
  return { expectBody: bytes, expectBodyPattern: null };
}

/** Says before the run, not after it, that the result could not be written. */
export function checkOutput(path: string | undefined): string | null {
  if (path === undefined) return null;
  const full = resolve(path);
  const folder = dirname(full);
  try {
    accessSync(folder, constants.W_OK);
    if (!statSync(folder).isDirectory()) throw new Error('not a directory');
  } catch {
    throw new CliError(`-o: cannot write to ${path}: ${folder} is not a writable directory`);
  }
  const found = statSync(full, { throwIfNoEntry: false });
  if (found?.isDirectory()) throw new CliError(`-o: ${path} is a directory`);
  if (found !== undefined) {
    try {
      accessSync(full, constants.W_OK);
    } catch {
      throw new CliError(`-o: cannot write to ${path}: it is write-protected`);
    }
  }
  return full;
}

/** Which protocol, and how many requests at once on a connection. */
function protocolOf(options: RawOptions): Pick<LoadPlan, 'http2' | 'streamsPerConnection'> {
  const version = parseChoice('--http-version', options.httpVersion ?? '1.1', ['1.1', '2']);
  if (options.http2 === true && options.httpVersion === '1.1') {
    throw new CliError('--http2 and --http-version 1.1 contradict each other');
  }
  const http2 = options.http2 === true || version === '2';
  const streamsPerConnection = parseCount('-p', options.http2Parallel);
  if (!http2 && streamsPerConnection !== 1) {
    throw new CliError('-p needs --http2: HTTP/1.1 has one request at a time on a connection');
  }
  if (http2 && options.disableKeepalive === true) {
    throw new CliError('--http2 and --disable-keepalive cannot be combined');
  }
  if (http2 && parseWhole('-r', options.redirect) > 0) {
    throw new CliError('--http2 and -r cannot be combined: redirects are not followed over HTTP/2');
  }
  return { http2, streamsPerConnection };
}

function arrivalOf(options: RawOptions): Pick<LoadPlan, 'ratePerS' | 'burst' | 'arrivals'> {
  if (options.q !== undefined && options.rate !== undefined) {
    throw new CliError('-q and --rate are the same; give one of them');
  }
  const rate = options.q ?? options.rate;
  const ratePerS = rate === undefined ? null : parsePositive('-q', rate);
  let burst: LoadPlan['burst'] = null;
  if (options.burstDelay !== undefined) {
    burst = {
      delayMs: parseDurationMs('--burst-delay', options.burstDelay),
      requests: parseCount('--burst-rate', options.burstRate ?? '1'),
    };
  } else if (options.burstRate !== undefined) {
    throw new CliError('--burst-rate needs --burst-delay');
  }
  if (burst !== null && ratePerS !== null) {
    throw new CliError('-q and --burst-delay cannot be combined');
  }
  return { ratePerS, burst, arrivals: options.poisson === true ? 'poisson' : 'constant' };
}

/** Checks every option and makes the plan. @throws CliError naming the first that is wrong. */
export function loadRequestOf(target: string, options: RawOptions, version: string): LoadRequest {
  if (options.waitOngoingRequestsAfterDeadline === true && options.z === undefined) {
    throw new CliError('-w needs -z');
  }
  if ((options.cert === undefined) !== (options.key === undefined)) {
    throw new CliError('--cert and --key must be given together');
  }
  const format =
    options.json === true
      ? 'json'
      : parseChoice('--output-format', options.outputFormat ?? 'text', formats);
  const [url, ...moreUrls] = urlsOf(target, options.urlsFromFile === true);
  const { body, bodies, contentType } = bodyOf(options);
  const arrival = arrivalOf(options);
  const openLoop = arrival.ratePerS !== null || arrival.burst !== null;
  const warmup = warmupOf(options.warmup);
  const bounds =
    options.n === undefined && options.z === undefined
      ? { requests: 200, durationMs: null }
      : {
          requests: options.n === undefined ? null : parseCount('-n', options.n),
          durationMs: options.z === undefined ? null : parseDurationMs('-z', options.z),
        };
  const pem = (flag: string, path: string | undefined): string | null =>
    path === undefined ? null : readNamed(flag, path).toString('utf8');
  if (options.fps !== undefined) parsePositive('--fps', options.fps);
  const hasBody = body !== null || bodies.length > 0;
  const plan = defaultPlan(url!, {
    moreUrls,
    method: options.method ?? (options.form.length > 0 && hasBody ? 'POST' : 'GET'),
    headers: headersOf(options, contentType, version),
    body,
    bodies,
    connections: parseCount('-c', options.c),
    ...protocolOf(options),
    ...bounds,
    waitOngoing: options.waitOngoingRequestsAfterDeadline === true,
    graceMs: options.waitOngoingRequestsAfterDeadline === true ? 86_400_000 : 10_000,
    ...arrival,
    inFlightMax: parseCount('--in-flight-max', options.inFlightMax),
    ...warmup,
    connectFirst: openLoop || warmup.warmupRequests > 0 || warmup.warmupMs > 0,
    timeoutMs: options.t === undefined ? null : parseDurationMs('-t', options.t),
    connectTimeoutMs: parseDurationMs('--connect-timeout', options.connectTimeout),
    keepAlive: options.disableKeepalive !== true,
    redirectsMax: parseWhole('-r', options.redirect),
    sse: options.sse === true,
    tls: {
      insecure: options.insecure === true,
      ca: pem('--cacert', options.cacert),
      cert: pem('--cert', options.cert),
      key: pem('--key', options.key),
    },
    connectTo: options.connectTo.map((text) => parseConnectTo('--connect-to', text)),
    unixSocket: options.unixSocket ?? null,
    ipFamily: options.ipv4 === true ? 4 : options.ipv6 === true ? 6 : 0,
    ...expectationOf(options.expectBody),
    seed: parseWhole('--seed', options.seed),
    keepSamples: format === 'csv',
    successBreakdown: options.statsSuccessBreakdown === true,
  });
  return {
    plan,
    runtime: parseChoice('--runtime', options.runtime, ['auto', 'node', 'bun']),
    format,
    output: checkOutput(options.output),
    timeUnit:
      options.timeUnit === undefined ? null : parseChoice('-u', options.timeUnit, timeUnits),
    color: options.color && options.disableColor !== true,
    tui: options.tui,
    debug: options.debug === true,
    allowFailures: options.allowFailures === true,
    thresholds: options.failOn.map((text) => parseThreshold('--fail-on', text)),
    selfCheck: options.selfCheck === true,
  };
}
