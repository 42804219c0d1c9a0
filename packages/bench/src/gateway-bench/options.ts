/** The command line of `npm run bench:gateway`, read and checked. */
import { Command } from 'commander';
import { CliError } from '../cli-error.ts';
import { parseCount, parseDurationMs, parsePositive } from '../load/values.ts';

export interface BenchFlags {
  quick: boolean;
  /** Ids of bars, groups or cells; empty for all. */
  only: string[];
  /** At most so many; infinite when a budget alone decides. */
  rounds: number;
  /** Wall time for everything, checkout and build included; null for no limit. */
  budgetMs: number | null;
  out: string | null;
  nodes: string[];
  /** The revision to compare with; null for none. */
  against: string | null;
  /** Bar for new over old; null for that of the scenarios. */
  againstMost: number | null;
}

interface RawFlags {
  quick?: boolean;
  only?: string;
  rounds?: string;
  budget?: string;
  out?: string;
  node: string[];
  against?: string;
  againstBar?: string;
}

const roundsUsual = 5;
const roundsQuick = 2;

function commandOf(): Command {
  return new Command('bench:gateway')
    .description('Forwards the same loads with our gateway and others; CPU per request decides')
    .option('--quick', 'shorter windows, 2 rounds: a look, not a result')
    .option('--only <list>', 'bars, groups or loads, comma separated: P1,P6 or pipelined')
    .option('--rounds <n>', 'rounds; 5 unless --quick; with --budget at most so many')
    .option('--budget <time>', 'as many rounds as fit in so long, 15m say; at least the first')
    .option('--out <path>', 'write the result as JSON: a file, or gateway.json in a directory')
    .option(
      '--node <path>',
      'another Node binary to run our gateway on; may be repeated',
      (path: string, earlier: string[]) => [...earlier, path],
      [],
    )
    .option(
      '--against <revision>',
      'build that revision beside and compare with it, window by window; HEAD shows the noise',
    )
    .option('--against-bar <ratio>', 'CPU per request, new over old, at most (1.02)')
    .exitOverride();
}

/**
 * @param words what stands behind the command
 * @throws CliError for a value that is none, CommanderError for an option that is none
 */
export function readFlags(words: readonly string[]): BenchFlags {
  const raw = commandOf()
    .parse([...words], { from: 'user' })
    .opts<RawFlags>();
  const quick = raw.quick === true;
  const budgetMs = raw.budget === undefined ? null : parseDurationMs('--budget', raw.budget);
  if (raw.against?.trim() === '') throw new CliError('--against takes a revision, not nothing');
  if (raw.againstBar !== undefined && raw.against === undefined) {
    throw new CliError('--against-bar needs --against REVISION: there is nothing to compare with');
  }
  const unbounded =
    budgetMs === null ? (quick ? roundsQuick : roundsUsual) : Number.POSITIVE_INFINITY;
  return {
    quick,
    only: raw.only?.split(',').map((word) => word.trim()) ?? [],
    rounds: raw.rounds === undefined ? unbounded : parseCount('--rounds', raw.rounds),
    budgetMs,
    out: raw.out ?? null,
    nodes: raw.node,
    against: raw.against ?? null,
    againstMost:
      raw.againstBar === undefined ? null : parsePositive('--against-bar', raw.againstBar),
  };
}
