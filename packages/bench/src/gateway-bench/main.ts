/** `npm run bench:gateway`: our gateway against nginx, HAProxy and JavaScript forwarders. */
import { accessSync, constants, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { Command, CommanderError } from 'commander';
import { findBun } from 'onehop/cli/find-bun';
import { CliError, ExitCode } from '../cli-error.ts';
import { parseCount } from '../load/values.ts';
import { makeDirectory, writeFileAtomically } from '../results/index.ts';
import { executableVersion, rigFacts } from '../study/rig.ts';
import { judge, rowsOf } from './judge.ts';
import { canMeasure } from './process-stats.ts';
import { readScenarios, runBench } from './run.ts';
import { resultText } from './text.ts';
import type { GatewayBenchResult } from './types.ts';

interface Flags {
  quick?: boolean;
  only?: string;
  rounds?: string;
  out?: string;
  node: string[];
}

const program = new Command('bench:gateway')
  .description('Forwards the same loads with our gateway and others; CPU per request decides')
  .option('--quick', 'shorter windows, 2 rounds: a look, not a result')
  .option('--only <list>', 'bars, groups or loads, comma separated: P1,P6 or pipelined')
  .option('--rounds <n>', 'rounds; 5 unless --quick')
  .option('--out <path>', 'write the result as JSON: a file, or gateway.json in a directory')
  .option(
    '--node <path>',
    'another Node binary to run our gateway on; may be repeated',
    (path: string, earlier: string[]) => [...earlier, path],
    [],
  )
  .exitOverride();

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

async function run(flags: Flags): Promise<number> {
  if (!canMeasure()) throw new CliError('CPU times are read from /proc, which needs Linux');
  const quick = flags.quick === true;
  const rounds =
    flags.rounds === undefined ? (quick ? 2 : 5) : parseCount('--rounds', flags.rounds);
  const path = flags.out === undefined ? null : outPath(flags.out);
  const stop = new AbortController();
  process.once('SIGINT', () => stop.abort());
  process.once('SIGTERM', () => process.exit(ExitCode.Interrupted));
  const tty = process.stderr.isTTY === true;
  const startedMs = performance.now();
  const outcome = await runBench({
    rounds,
    quick,
    only: flags.only?.split(',').map((word) => word.trim()) ?? [],
    nodes: flags.node,
    signal: stop.signal,
    onStep: (text) => {
      const seconds = ((performance.now() - startedMs) / 1000).toFixed(0).padStart(4);
      process.stderr.write(tty ? `\r\x1b[K${seconds} s  ${text}` : `${seconds} s  ${text}\n`);
    },
  });
  if (tty) process.stderr.write('\r\x1b[K');
  const bars = judge(readScenarios(), outcome.samples);
  const result: GatewayBenchResult = {
    kind: 'gateway-bench',
    createdAt: new Date().toISOString(),
    command: ['npm run bench:gateway --', ...process.argv.slice(2)].join(' '),
    machine: rigFacts({
      nodeVersion: process.versions.node,
      bunVersion: executableVersion(findBun()),
      pythonVersion: null,
      generator: 'onehop load',
    }),
    rounds,
    quick,
    forwarders: outcome.forwarders.map(({ id, name }) => ({ id, name })),
    leftOut: outcome.leftOut,
    warnings: outcome.warnings,
    rows: rowsOf(outcome.samples, 'nginx'),
    bars,
    samples: outcome.samples,
  };
  process.stdout.write(resultText(result));
  if (path !== null) {
    writeFileAtomically(path, `${JSON.stringify(result, null, 2)}\n`);
    console.log(`written to ${path}`);
  }
  const faulty = result.rows.some(({ invalid }) => invalid.length > 0);
  if (faulty) return ExitCode.Invalid;
  return bars.some(({ verdict }) => verdict === 'missed') ? ExitCode.Breached : ExitCode.Fine;
}

try {
  program.parse();
  process.exitCode = await run(program.opts<Flags>());
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode;
  else if (error instanceof CliError) {
    console.error(`bench:gateway: ${error.message}`);
    process.exitCode = error.exitCode;
  } else throw error;
}
