/** Reads result files of oha 0.5.4 to 1.15 (and of our own writer), one per cell of a study. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CliError } from '../cli-error.ts';
import type { OhaCell, OhaJson, OhaStudy } from './oha-types.ts';

const FILE_NAME = /^(.+)_(\d+)_(\d+)\.json$/;

type Json = Record<string, unknown>;

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** A finite number, or null for null, absent and anything else. */
const number = (value: unknown): number | null =>
  typeof value === 'number' && Number.isFinite(value) ? value : null;

function numbers(value: unknown): Record<string, number | null> {
  if (!isObject(value)) return {};
  return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, number(entry)]));
}

function counts(value: unknown): Record<string, number> {
  const table: Record<string, number> = {};
  for (const [key, count] of Object.entries(numbers(value))) if (count !== null) table[key] = count;
  return table;
}

/** Which releases write a file of this shape. Only the shape can tell: oha notes no version. */
export function ohaVersionsOf(raw: Json): string {
  if (isObject(raw['summary']) && 'statusSuccessRate' in raw['summary']) return 'onehop';
  if (isObject(raw['metrics'])) return '1.15 or later';
  if (isObject(raw['details']) && isObject(raw['details']['firstByte'])) return '1.13-1.14';
  const percentiles = raw['latencyPercentiles'];
  return isObject(percentiles) && 'p99.9' in percentiles ? '0.6.4-1.12' : '0.5.4-0.6.3';
}

/**
 * Checks that `raw` is a result of oha.
 * @returns the reason why it is not, or null.
 */
function shapeProblem(raw: unknown): string | null {
  if (!isObject(raw)) return 'is not a JSON object';
  if (!isObject(raw['summary'])) return 'has no "summary": it is no result of oha';
  for (const key of ['total', 'requestsPerSec']) {
    if (!(key in raw['summary'])) return `has no "summary.${key}": it is no result of oha`;
  }
  if (!isObject(raw['latencyPercentiles'])) return 'has no "latencyPercentiles"';
  return null;
}

function notesOf(cell: Omit<OhaCell, 'notes' | 'raw'>): string[] {
  const notes: string[] = [];
  const answers = Object.entries(cell.statusCounts);
  const bad = answers.filter(([status]) => !status.startsWith('2'));
  if (bad.length > 0) {
    const list = bad.map(([status, count]) => `${count} x ${status}`).join(', ');
    notes.push(`Not every answer was 2xx (${list}); oha counts any status as a success.`);
  }
  const errors = Object.entries(cell.errorCounts);
  const failed = errors.filter(([text]) => text !== 'aborted due to deadline');
  if (failed.length > 0) {
    const total = failed.reduce((sum, [, count]) => sum + count, 0);
    notes.push(`${total} requests failed; oha counts them in requests/sec but not in latencies.`);
  }
  if (errors.length > failed.length) {
    notes.push('Requests cut off by the deadline are counted in requests/sec.');
  }
  if (cell.averageMs === null) notes.push('No request succeeded, so there are no latencies.');
  if (cell.connections > cell.requests) {
    notes.push(`Only ${cell.requests} of ${cell.connections} connections had a request to send.`);
  } else if (cell.connections / cell.requests >= 0.05) {
    const percent = Math.round((100 * cell.connections) / cell.requests);
    notes.push(`${percent} % of the samples contain the opening of a connection.`);
  }
  return notes;
}

/** Makes one cell of a parsed file; `file` is `<client>_<n>_<c>.json`. */
function toCell(file: string, match: RegExpExecArray, raw: Json): OhaCell {
  const summary = raw['summary'] as Json;
  const versions = ohaVersionsOf(raw);
  const inMs = (value: unknown): number | null => {
    const seconds = number(value);
    return seconds === null ? null : seconds * 1_000;
  };
  const cell = {
    file,
    client: match[1]!,
    requests: Number(match[2]),
    connections: Number(match[3]),
    versions,
    correctionSuspect: versions === '0.6.4-1.12' || versions === '1.13-1.14',
    requestsPerS: number(summary['requestsPerSec']),
    averageMs: inMs(summary['average']),
    fastestMs: inMs(summary['fastest']),
    slowestMs: inMs(summary['slowest']),
    percentilesMs: Object.fromEntries(
      Object.entries(numbers(raw['latencyPercentiles'])).map(([key, value]) => [key, inMs(value)]),
    ),
    successRate: number(summary['successRate']),
    statusCounts: counts(raw['statusCodeDistribution']),
    errorCounts: counts(raw['errorDistribution']),
  };
  return { ...cell, notes: notesOf(cell), raw: raw as unknown as OhaJson };
}

const ascending = (values: Iterable<number>): number[] =>
  [...new Set(values)].sort((a, b) => a - b);

/**
 * Reads every `<client>_<n>_<c>.json` of a directory. What is no result of oha is listed in
 * `skipped`, never guessed at.
 * @throws CliError when the directory cannot be read or holds no usable file.
 */
export function readOhaDirectory(directory: string): OhaStudy {
  let names: string[];
  try {
    names = readdirSync(directory).sort();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const why =
      code === 'ENOENT' ? 'it does not exist' : code === 'ENOTDIR' ? 'it is a file' : code;
    throw new CliError(`cannot read the directory ${directory}: ${why}`);
  }
  const cells: OhaCell[] = [];
  const skipped: OhaStudy['skipped'] = [];
  for (const file of names) {
    if (!file.endsWith('.json')) continue;
    const match = FILE_NAME.exec(file);
    if (match === null || Number(match[2]) === 0 || Number(match[3]) === 0) {
      skipped.push({ file, reason: 'is not named <client>_<n>_<c>.json' });
      continue;
    }
    let raw: unknown;
    try {
      raw = JSON.parse(readFileSync(join(directory, file), 'utf8'));
    } catch (error) {
      const reason = error instanceof SyntaxError ? 'is not valid JSON' : 'cannot be read';
      skipped.push({ file, reason });
      continue;
    }
    const problem = shapeProblem(raw);
    if (problem !== null) skipped.push({ file, reason: problem });
    else cells.push(toCell(file, match, raw as Json));
  }
  if (cells.length === 0) {
    throw new CliError(
      `${directory} holds no oha result named <client>_<n>_<c>.json` +
        (skipped.length > 0 ? ` (${skipped[0]!.file} ${skipped[0]!.reason})` : ''),
    );
  }
  cells.sort(
    (a, b) =>
      a.client.localeCompare(b.client) || a.requests - b.requests || a.connections - b.connections,
  );
  const notes: string[] = [];
  if (cells.some(({ correctionSuspect }) => correctionSuspect)) {
    notes.push(
      'oha 1.6.0-1.13.0 applied --latency-correction the wrong way round when -n and -q were given; files of that age do not tell their version, so treat any rate-limited run among them with care.',
    );
  }
  if (cells.some(({ versions }) => versions.startsWith('0.') || versions === '0.6.4-1.12')) {
    notes.push('DNS and connect times of oha before 1.12 are wrong and are not shown.');
  }
  return {
    directory,
    cells,
    clients: [...new Set(cells.map(({ client }) => client))],
    requestCounts: ascending(cells.map(({ requests }) => requests)),
    connectionCounts: ascending(cells.map(({ connections }) => connections)),
    skipped,
    notes,
  };
}
