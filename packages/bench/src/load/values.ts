/** What command line values mean, with oha's notations. Each throws a CliError in one sentence. */
import { CliError } from '../cli-error.ts';

const UNIT_MS: Record<string, number> = {
  ns: 1e-6,
  us: 1e-3,
  ms: 1,
  s: 1_000,
  sec: 1_000,
  m: 60_000,
  min: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** `200`, `10k`, `2.6k`, `1m`. */
export function parseCount(flag: string, text: string): number {
  const match = /^(\d+(?:\.\d+)?)([kKmM]?)$/.exec(text);
  const suffix = (match?.[2] ?? '').toLowerCase();
  const scale = suffix === 'k' ? 1_000 : suffix === 'm' ? 1_000_000 : 1;
  const value = Math.round(Number(match?.[1] ?? Number.NaN) * scale * 1e6) / 1e6;
  if (!Number.isSafeInteger(value) || value < 1) {
    throw new CliError(`${flag} takes a whole number such as 500, 10k or 2.6k, not "${text}"`);
  }
  return value;
}

/** `10s`, `500ms`, `1m30s`; a bare number is refused as oha refuses it. In ms. */
export function parseDurationMs(flag: string, text: string): number {
  const part = /(\d+(?:\.\d+)?)\s*(ns|us|ms|sec|s|min|m|h|d)\s*/y;
  let total = 0;
  while (part.lastIndex < text.length) {
    const at = part.lastIndex;
    const match = part.exec(text);
    if (match === null) {
      part.lastIndex = at;
      total = Number.NaN;
      break;
    }
    total += Number(match[1]) * UNIT_MS[match[2]!]!;
  }
  if (!(total > 0)) {
    throw new CliError(`${flag} takes a duration such as 500ms, 10s or 1m30s, not "${text}"`);
  }
  return total;
}

/** A number greater than 0, fractions allowed. */
export function parsePositive(flag: string, text: string): number {
  const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  if (!(value > 0)) throw new CliError(`${flag} takes a number greater than 0, not "${text}"`);
  return value;
}

/** A whole number, 0 included. */
export function parseWhole(flag: string, text: string): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(value)) {
    throw new CliError(`${flag} takes a whole number, not "${text}"`);
  }
  return value;
}

export function parseChoice<T extends string>(
  flag: string,
  text: string,
  choices: readonly T[],
): T {
  const found = choices.find((choice) => choice === text);
  if (found === undefined) {
    throw new CliError(`${flag} takes one of ${choices.join(', ')}, not "${text}"`);
  }
  return found;
}

/** `Name: value`. */
export function parseHeader(flag: string, text: string): [name: string, value: string] {
  const colon = text.indexOf(':');
  if (colon <= 0) throw new CliError(`${flag} takes a header such as "foo: bar", not "${text}"`);
  return [text.slice(0, colon).trim(), text.slice(colon + 1).trim()];
}

export interface ConnectRule {
  host: string;
  port: number;
  toHost: string;
  toPort: number;
}

/** `example.org:443:localhost:8443`; any part but the colons may be empty, IPv6 in brackets. */
export function parseConnectTo(flag: string, text: string): ConnectRule {
  const match = /^(\[[^\]]*\]|[^:]*):(\d*):(\[[^\]]*\]|[^:]*):(\d*)$/.exec(text);
  if (match === null) {
    throw new CliError(
      `${flag} takes HOST:PORT:TO_HOST:TO_PORT such as example.org:443:localhost:8443, not "${text}"`,
    );
  }
  const bare = (host: string): string => host.replace(/^\[|\]$/g, '');
  return {
    host: bare(match[1]!),
    port: Number(match[2]),
    toHost: bare(match[3]!),
    toPort: Number(match[4]),
  };
}

/** One condition of `--fail-on`: breached when it is true. */
export interface Threshold {
  text: string;
  figure: string;
  above: boolean;
  /** In ms for latencies, a share of 1 where `%` was given. */
  limit: number;
  isShare: boolean;
}

const LATENCIES = /^(min|max|mean|p\d{1,2}(\.\d+)?)$/;

/** `p99>50ms`, `mean>2ms`, `rps<1000`, `errors>0`, `errors>1%`, `success<99.9%`. */
export function parseThreshold(flag: string, text: string): Threshold {
  const match = /^\s*([a-z][a-z0-9.]*)\s*([<>])\s*(\d+(?:\.\d+)?)\s*([a-z]+|%)?\s*$/.exec(text);
  const figure = match?.[1] ?? '';
  const unit = match?.[4] ?? '';
  const isLatency = LATENCIES.test(figure);
  const isShare = unit === '%';
  const good =
    match !== null &&
    (isLatency
      ? UNIT_MS[unit] !== undefined
      : ((figure === 'rps' || figure === 'dropped') && unit === '') ||
        (figure === 'errors' && (unit === '' || isShare)) ||
        (figure === 'success' && isShare));
  if (!good) {
    throw new CliError(
      `${flag} takes a condition such as "p99>50ms", "rps<1000", "errors>1%" or "success<99.9%", not "${text}"`,
    );
  }
  const scale = isLatency ? UNIT_MS[unit]! : isShare ? 0.01 : 1;
  return { text, figure, above: match[2] === '>', limit: Number(match[3]) * scale, isShare };
}
