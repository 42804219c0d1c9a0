/** The settings of one study: read from the command line, checked, and kept in `plan.json`. */
import { CliError } from '../cli-error.ts';
import type { ReuseMode, StudyCase } from '../contestants/types.ts';

export type GeneratorName = 'onehop' | 'oha' | 'wrk';
export type UpstreamKind = 'fast' | 'study';

/** Everything that decides what is measured. A resumed study must have the same. */
export interface StudyOptions {
  case: StudyCase;
  /** Names as given; null for the default choice. */
  clients: string[] | null;
  reuse: ReuseMode[];
  runtimes: ('node' | 'bun')[];
  python: 'auto' | 'off';
  audit: 'auto' | 'off';
  requests: number[];
  connections: number[];
  latenciesMs: number[];
  /** Offered rates of the open-loop cells, in requests per second; empty for none. */
  openLoopRates: number[];
  rounds: number;
  seed: number;
  generator: GeneratorName;
  upstream: UpstreamKind;
  /** Time for everything, set-up and report included; null for no limit. */
  budgetMs: number | null;
  /** Keep adding rounds past `rounds` while pairs are undecided and the budget lasts. */
  untilDecided: boolean;
  /**
   * `tiered`: the first cell of shared clients on the first runtime runs in every round, the rest in
   * as many rounds as the budget allows. `uniform`: everything in every round.
   */
  planning: 'tiered' | 'uniform';
  /** `auto`: processes under test get a core of their own where that can be had. */
  pin: 'auto' | 'off';
  /** Pieces that the main cell of a tiered study is cut into, measured by turns; 1 for none. */
  slices: number;
  /** Time limit of the measured part of one cell, all pieces together. */
  cellMsMax: number;
  /** Longest warm-up; it ends sooner when the CPU per request falls no more. */
  warmupMs: number;
  /** Upper bound of upstream connections per API process: the same for every contestant. */
  connectionsMax: number;
}

export const FULL_REQUESTS = [500, 1000, 2000, 2500, 5000, 7500, 10000];
export const FULL_CONNECTIONS = [2, 10, 20, 25, 50, 100, 200, 400, 600, 800, 1000];
export const DEFAULT_BUDGET_MS = 235_000;
const SLICES = 8;
const WARMUP_MS = 2500;
/** More than this many requests or connections is taken for a slip of the keyboard. */
const REQUESTS_MAX = 100_000_000;
const CONNECTIONS_MAX = 20_000;

/** What commander hands over: every value still a string, absent when the option was not given. */
export interface RawOptions {
  case?: string;
  clients?: string;
  reuse?: string;
  requests?: string;
  connections?: string;
  latency?: string;
  rounds?: string;
  seed?: string;
  runtime?: string;
  python?: string;
  audit?: string;
  generator?: string;
  upstream?: string;
  openLoop?: string;
  budget?: string;
  untilDecided?: boolean;
  full?: boolean;
  cellLimit?: string;
  slices?: string;
  pin?: string;
  warmup?: string;
  connectionsMax?: string;
}

function list(text: string, option: string): string[] {
  const items = text.split(',').map((item) => item.trim());
  if (items.some((item) => item === '')) {
    throw new CliError(`${option} takes a list such as a,b,c, not "${text}"`);
  }
  return [...new Set(items)];
}

/** Reads a whole number within bounds; `2k` is not accepted, so that nothing is guessed. */
export function wholeNumber(text: string, option: string, min: number, max: number): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < min || value > max) {
    throw new CliError(`${option} takes a whole number from ${min} to ${max}, not "${text}"`);
  }
  return value;
}

function numbers(text: string, option: string, min: number, max: number): number[] {
  return list(text, option).map((item) => wholeNumber(item, option, min, max));
}

/** Reads `220s`, `4m`, `1.5h`, `500ms` or plain seconds. */
export function durationMs(text: string, option: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)?$/.exec(text);
  const unit = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }[match?.[2] ?? 's'] ?? 1000;
  const value = match === null ? 0 : Number(match[1]) * unit;
  if (!(value > 0) || value > 30 * 86_400_000) {
    throw new CliError(`${option} takes a time such as 500ms, 220s or 10m, not "${text}"`);
  }
  return value;
}

function choice<Value extends string>(
  text: string,
  option: string,
  known: readonly Value[],
): Value {
  const found = known.find((value) => value === text);
  if (found === undefined) {
    throw new CliError(`${option} takes ${known.join(' or ')}, not "${text}"`);
  }
  return found;
}

/** Checks the command line. @throws CliError with one sentence about the first problem. */
export function readOptions(raw: RawOptions, bunPresent: boolean): StudyOptions {
  const full = raw.full === true;
  const reuse = choice(raw.reuse ?? 'both', '--reuse', ['shared', 'per-request', 'both']);
  const runtime = choice(raw.runtime ?? 'both', '--runtime', ['node', 'bun', 'both']);
  if (runtime === 'bun' && !bunPresent) {
    throw new CliError('--runtime bun: Bun was not found; set ONEHOP_BUN or leave the option out');
  }
  const budgetMs = raw.budget === undefined ? null : durationMs(raw.budget, '--budget');
  if (budgetMs !== null && budgetMs < 15_000) {
    throw new CliError('--budget: less than 15s leaves no time to measure anything');
  }
  const rounds =
    raw.rounds === undefined ? (full ? 5 : 10) : wholeNumber(raw.rounds, '--rounds', 1, 10_000);
  if (raw.untilDecided === true && budgetMs === null) {
    throw new CliError('--until-decided needs --budget, or it could go on for ever');
  }
  const seed =
    raw.seed === undefined
      ? Math.floor(Math.random() * 1_000_000)
      : wholeNumber(raw.seed, '--seed', 0, 4294967295);
  // Rounds without a budget are a wish to be fulfilled whole; else time decides.
  const uniform = full || (raw.rounds !== undefined && budgetMs === null);
  const connections =
    raw.connections === undefined
      ? full
        ? FULL_CONNECTIONS
        : [50, 10, 200]
      : numbers(raw.connections, '-c', 1, CONNECTIONS_MAX);
  const studyCase = choice(raw.case ?? 'message', '--case', ['message', 'chat']);
  // The chat case has few clients, so all are placed.
  const unnamed = studyCase === 'chat' ? ['all'] : null;
  return {
    case: studyCase,
    clients: raw.clients === undefined ? unnamed : list(raw.clients, '--clients'),
    reuse: reuse === 'both' ? ['shared', 'per-request'] : [reuse],
    runtimes: runtime === 'both' ? (bunPresent ? ['node', 'bun'] : ['node']) : [runtime],
    python:
      studyCase === 'chat' ? 'off' : choice(raw.python ?? 'auto', '--python', ['auto', 'off']),
    audit: choice(raw.audit ?? 'auto', '--audit', ['auto', 'off']),
    requests:
      raw.requests === undefined
        ? full
          ? FULL_REQUESTS
          : [10000]
        : numbers(raw.requests, '-n', 1, REQUESTS_MAX),
    connections,
    latenciesMs:
      raw.latency === undefined
        ? full || raw.upstream === 'study'
          ? [0]
          : [0, 5, 50]
        : numbers(raw.latency, '--latency', 0, 60_000),
    openLoopRates:
      raw.openLoop === undefined
        ? full || (raw.generator ?? 'onehop') !== 'onehop'
          ? []
          : [1000]
        : raw.openLoop === 'off'
          ? []
          : numbers(raw.openLoop, '--open-loop', 1, 10_000_000),
    rounds,
    seed,
    generator: choice(raw.generator ?? 'onehop', '--generator', ['onehop', 'oha', 'wrk']),
    upstream: choice(raw.upstream ?? 'fast', '--upstream', ['fast', 'study']),
    budgetMs: budgetMs ?? (uniform ? null : DEFAULT_BUDGET_MS),
    untilDecided: raw.untilDecided === true,
    planning: uniform ? 'uniform' : 'tiered',
    pin: choice(raw.pin ?? 'auto', '--pin', ['auto', 'off']),
    slices: slicesOf(raw, uniform),
    cellMsMax:
      raw.cellLimit === undefined
        ? uniform
          ? 10_000
          : 800
        : durationMs(raw.cellLimit, '--cell-limit'),
    warmupMs: raw.warmup === undefined ? WARMUP_MS : durationMs(raw.warmup, '--warmup'),
    connectionsMax:
      raw.connectionsMax === undefined
        ? Math.max(...connections)
        : wholeNumber(raw.connectionsMax, '--connections-max', 1, CONNECTIONS_MAX),
  };
}

/** Pieces need the generator of this project, and entries that take turns. */
function slicesOf(raw: RawOptions, uniform: boolean): number {
  const able = !uniform && (raw.generator ?? 'onehop') === 'onehop';
  if (raw.slices === undefined) return able ? SLICES : 1;
  const slices = wholeNumber(raw.slices, '--slices', 1, 1000);
  if (slices > 1 && !able) {
    throw new CliError(
      '--slices works with --generator onehop and a time budget only (no --full; --rounds with --budget)',
    );
  }
  return slices;
}

/** Rejects settings that contradict each other once the upstream is known. */
export function checkOptions(options: StudyOptions): void {
  if (options.case === 'chat' && (options.upstream !== 'fast' || options.generator !== 'onehop')) {
    throw new CliError('--case chat works with --upstream fast and --generator onehop only');
  }
  if (options.upstream === 'study' && options.latenciesMs.some((latency) => latency > 0)) {
    throw new CliError('--latency works with --upstream fast only; the study server adds none');
  }
  if (options.openLoopRates.length > 0 && options.generator !== 'onehop') {
    throw new CliError(
      `--open-loop needs --generator onehop: ${options.generator} has no true open loop`,
    );
  }
}
