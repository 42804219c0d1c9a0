/** `npm run bench:gateway`: our gateway against nginx, HAProxy and JavaScript forwarders. */
import { accessSync, constants, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CommanderError } from 'commander';
import { findBun } from 'onehop/cli/find-bun';
import { CliError, ExitCode } from '../cli-error.ts';
import { makeDirectory, writeFileAtomically } from '../results/index.ts';
import { executableVersion, rigFacts } from '../study/rig.ts';
import { checkOut, type OtherRevision } from './against.ts';
import { compareRevisions } from './compare.ts';
import { judge, rowsOf } from './judge.ts';
import { type BenchFlags, readFlags } from './options.ts';
import { counterpartOf, ourRuntimes } from './peers.ts';
import { canMeasure } from './process-stats.ts';
import { type BenchOutcome, chooseGroups, readScenarios, runBench } from './run.ts';
import { resultText } from './text.ts';
import type { AgainstResult, GatewayBenchResult } from './types.ts';

const root = fileURLToPath(new URL('../../../../', import.meta.url));

/** Where the result goes, looked at before anything is measured. @throws CliError when it cannot */
function outPath(out: string): string {
  const path = statSync(out, { throwIfNoEntry: false })?.isDirectory()
    ? join(out, 'gateway.json')
    : resolve(out);
  try {
    makeDirectory(dirname(path));
    accessSync(dirname(path), constants.W_OK);
  } catch (cause) {
    throw new CliError(`--out: cannot write to ${dirname(path)}: ${(cause as Error).message}`);
  }
  return path;
}

/** Ctrl-C and `kill` stop what was started and remove what was checked out; a second one at once. */
function stopOnSignals(): AbortSignal {
  const stop = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => {
      if (stop.signal.aborted) process.exit(ExitCode.Interrupted);
      stop.abort();
    });
  }
  return stop.signal;
}

function againstOf(
  other: OtherRevision,
  outcome: BenchOutcome,
  { only, againstMost }: BenchFlags,
): AgainstResult {
  const scenarios = readScenarios();
  const most = againstMost ?? scenarios.against.most;
  const groups = chooseGroups(scenarios, only);
  const { revision, commit, subject } = other;
  const ratios = compareRevisions(groups, outcome.samples, { ...scenarios.against, most });
  return { revision, commit, subject, most, ratios };
}

function resultOf(
  flags: BenchFlags,
  outcome: BenchOutcome,
  other: OtherRevision | null,
): GatewayBenchResult {
  return {
    kind: 'gateway-bench',
    createdAt: new Date().toISOString(),
    command: ['npm run bench:gateway --', ...process.argv.slice(2)].join(' '),
    machine: rigFacts({
      nodeVersion: process.versions.node,
      bunVersion: executableVersion(findBun()),
      pythonVersion: null,
      generator: 'onehop load',
    }),
    rounds: outcome.rounds,
    quick: flags.quick,
    forwarders: outcome.forwarders.map(({ id, name }) => ({ id, name })),
    leftOut: outcome.leftOut,
    warnings: outcome.warnings,
    rows: rowsOf(outcome.samples, 'nginx'),
    bars: judge(readScenarios(), outcome.samples),
    ...(other !== null && { against: againstOf(other, outcome, flags) }),
    samples: outcome.samples,
  };
}

function exitCodeOf({ rows, bars, against }: GatewayBenchResult): ExitCode {
  const others = new Set(rows.map(({ forwarder }) => counterpartOf(forwarder)));
  // What the other revision does wrong makes its ratios undecided; it is no fault of this one.
  if (rows.some(({ forwarder, invalid }) => invalid.length > 0 && !others.has(forwarder))) {
    return ExitCode.Invalid;
  }
  const missed = [...bars, ...(against?.ratios ?? [])].some(({ verdict }) => verdict === 'missed');
  return missed ? ExitCode.Breached : ExitCode.Fine;
}

async function run(flags: BenchFlags): Promise<number> {
  const startedMs = performance.now();
  if (!canMeasure()) throw new CliError('CPU times are read from /proc, which needs Linux');
  // What is wrong with the command is told before anything is built or measured.
  chooseGroups(readScenarios(), flags.only);
  const path = flags.out === null ? null : outPath(flags.out);
  const signal = stopOnSignals();
  const tty = process.stderr.isTTY === true;
  const onStep = (text: string): void => {
    const seconds = ((performance.now() - startedMs) / 1000).toFixed(0).padStart(4);
    process.stderr.write(tty ? `\r\x1b[K${seconds} s  ${text}` : `${seconds} s  ${text}\n`);
  };
  const { against, budgetMs, nodes } = flags;
  const endMs = budgetMs === null ? null : startedMs + budgetMs;
  let result: GatewayBenchResult;
  let other: OtherRevision | null = null;
  try {
    if (against !== null) {
      const under = tmpdir();
      other = await checkOut(root, against, {
        signal,
        under,
        onStep,
        runtimes: ourRuntimes(nodes),
      });
    }
    const outcome = await runBench({ ...flags, endMs, other, signal, onStep });
    result = resultOf(flags, outcome, other);
  } catch (error) {
    throw signal.aborted ? new CliError('interrupted', ExitCode.Interrupted) : error;
  } finally {
    other?.remove();
    if (tty) process.stderr.write('\r\x1b[K');
  }
  process.stdout.write(resultText(result));
  if (path !== null) {
    writeFileAtomically(path, `${JSON.stringify(result, null, 2)}\n`);
    console.log(`written to ${path}`);
  }
  return exitCodeOf(result);
}

try {
  process.exitCode = await run(readFlags(process.argv.slice(2)));
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode;
  else if (error instanceof CliError) {
    console.error(`bench:gateway: ${error.message}`);
    process.exitCode = error.exitCode;
  } else throw error;
}
