/** `onehop bench calibrate`: can this generator be believed on this machine? */
import { mkdirSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import type { Command } from 'commander';
import { findBun } from 'onehop/cli/find-bun';
import picocolors from 'picocolors';
import { ExitCode } from '../cli-error.ts';
import { writeFileAtomically } from '../results/index.ts';
import { executableVersion, rigFacts } from '../study/rig.ts';
import { type Calibration, calibrate, type Ratio } from './calibrate.ts';
import { checkOutput } from './options.ts';
import { parseChoice, parseCount } from './values.ts';

const ratioText = ({ ratio, low, high }: Ratio): string =>
  `${ratio.toFixed(3)} (${low.toFixed(2)}-${high.toFixed(2)})`;

const row = (cells: readonly string[]): string =>
  cells.map((cell, at) => (at === 0 ? cell.padEnd(26) : cell.padStart(24))).join('');

/** Both comparisons and every bar as text. */
export function calibrationText(calibration: Calibration): string {
  const { stall } = calibration;
  const lines: string[] = [];
  for (const scenario of ['paced', 'flat out'] as const) {
    const found = calibration.comparisons.filter((one) => one.scenario === scenario);
    if (found.length === 0) continue;
    const { ours, upstream } = found[0]!;
    lines.push(
      `Closed loop, 50 connections, ${scenario}: ${upstream}`,
      `${ours} over the other, median of ${calibration.rounds} rounds (lowest-highest)`,
      row(['', 'requests/sec', 'p50', 'p99']),
    );
    for (const { theirs, requestsPerS, p50, p99 } of found) {
      lines.push(row([theirs, ratioText(requestsPerS), ratioText(p50), ratioText(p99)]));
      lines.push(
        row([
          '  ours / theirs',
          `${requestsPerS.ours.toFixed(0)} / ${requestsPerS.theirs.toFixed(0)}`,
          `${p50.ours.toFixed(3)} / ${p50.theirs.toFixed(3)} ms`,
          `${p99.ours.toFixed(3)} / ${p99.theirs.toFixed(3)} ms`,
        ]),
      );
    }
    lines.push('');
  }
  lines.push(
    `Open loop, ${stall.ratePerS} requests/sec for ${stall.durationMs / 1_000} s, upstream stopped for ${stall.stallMs.toFixed(0)} ms`,
    row(['quantile', 'arithmetic', 'latency', 'service time']),
  );
  for (const { percent, expectedMs, foundMs, serviceMs } of stall.quantiles) {
    const service = serviceMs === null ? '-' : `${serviceMs.toFixed(1)} ms`;
    lines.push(
      row([`p${percent}`, `${expectedMs.toFixed(1)} ms`, `${foundMs.toFixed(1)} ms`, service]),
    );
  }
  lines.push('', 'Bars');
  for (const { text, found, holds } of calibration.bars) {
    const mark = holds ? picocolors.green('holds ') : picocolors.red('MISSED');
    lines.push(`  ${mark} ${text}: ${found.toFixed(3)}`);
  }
  if (!calibration.pinned) lines.push('  Generator and upstream shared their cores.');
  for (const text of calibration.leftOut) lines.push(`  Left out: ${text}`);
  return `${lines.join('\n')}\n`;
}

interface CalibrateFlags {
  rounds: string;
  seconds: string;
  stallSeconds: string;
  runtime: string;
  output: string;
}

async function run(flags: CalibrateFlags): Promise<void> {
  const rounds = parseCount('--rounds', flags.rounds);
  const seconds = parseCount('--seconds', flags.seconds);
  const stallSeconds = parseCount('--stall-seconds', flags.stallSeconds);
  const runtime = parseChoice('--runtime', flags.runtime, ['auto', 'node', 'bun']);
  const path = resolve(flags.output);
  mkdirSync(dirname(path), { recursive: true });
  const output = checkOutput(path)!;
  const stop = new AbortController();
  const interrupt = (): void => {
    if (stop.signal.aborted) process.exit(ExitCode.Interrupted);
    stop.abort();
  };
  process.on('SIGINT', interrupt);
  process.on('SIGTERM', interrupt);
  try {
    const calibration = await calibrate({
      rounds,
      seconds,
      stallSeconds,
      runtime,
      signal: stop.signal,
      onStep: (text) => console.error(picocolors.dim(text)),
    });
    const generator = calibration.comparisons[0]?.ours ?? 'onehop load';
    const rig = rigFacts({
      nodeVersion: process.versions.node,
      bunVersion: executableVersion(findBun()),
      pythonVersion: null,
      generator,
    });
    const document = { kind: 'onehop-calibration', schemaVersion: 1, rig, ...calibration };
    writeFileAtomically(output, `${JSON.stringify(document, null, 2)}\n`);
    process.stdout.write(`${calibrationText(calibration)}\nWritten to ${output}\n`);
    if (calibration.bars.some(({ holds }) => !holds)) process.exitCode = ExitCode.Breached;
  } finally {
    process.off('SIGINT', interrupt);
    process.off('SIGTERM', interrupt);
  }
}

export function registerCalibrate(program: Command): void {
  program
    .command('calibrate')
    .description('compare this generator with wrk and oha, and its open loop with arithmetic')
    .option('--rounds <n>', 'interleaved rounds', '5')
    .option('--seconds <n>', 'length of each run', '2')
    .option('--stall-seconds <n>', 'length of the open loop run; a tenth of it is lost', '10')
    .option('--runtime <runtime>', 'generate on auto, node or bun', 'auto')
    .option('-o, --output <file>', 'where the result goes', 'lab/results/calibrate.json')
    .action(run);
}
