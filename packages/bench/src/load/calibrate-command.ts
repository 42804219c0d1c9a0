/** `onehop bench calibrate`: can this generator be believed on this machine? */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import type { Command } from 'commander';
import { findBun } from 'onehop/cli/find-bun';
import picocolors from 'picocolors';
import { CliError, ExitCode } from '../cli-error.ts';
import { makeDirectory, writeFileAtomically } from '../results/index.ts';
import type { RigFacts } from '../results/types.ts';
import { executableVersion, rigFacts } from '../study/rig.ts';
import { judgeCalibration } from './calibrate.ts';
import { type CompareOptions, runScenario } from './calibrate-compare.ts';
import { runStall } from './calibrate-stall.ts';
import { calibrationText } from './calibrate-text.ts';
import {
  type Calibration,
  type CalibrationPart,
  calibrationParts,
  type Scenario,
} from './calibrate-types.ts';
import { toolVersion } from './drivers.ts';
import { checkOutput } from './options.ts';
import { type LoadRuntime, runtimeCommand } from './spawn.ts';
import { parseChoice, parseCount } from './values.ts';

interface CalibrateFlags {
  part: string[];
  rounds: string;
  seconds: string;
  stallSeconds: string;
  runtime: string;
  output: string;
}

/**
 * How much of each part. `spread` has the bars that need many rounds. In step, the answers of one
 * instant are late together: p99 of one second is the second worst of its 180 instants and tells of
 * the machine's mood, so runs there are twice as long. `flat-out` has one bar, and a wide one.
 */
export function amountOf(
  part: Scenario,
  rounds: number,
  seconds: number,
): Pick<CompareOptions, 'rounds' | 'seconds'> {
  const share = (of: number): number => Math.min(rounds, Math.max(5, Math.ceil(rounds * of)));
  if (part === 'spread') return { rounds, seconds };
  if (part === 'in-step') return { rounds: share(0.6), seconds: 2 * seconds };
  return { rounds: share(1 / 3), seconds };
}

function rigOf(runtime: LoadRuntime): RigFacts {
  const bunVersion = executableVersion(findBun());
  const isBun = runtimeCommand(runtime).includes('bun');
  const name = isBun ? `bun ${bunVersion}` : `node ${process.versions.node}`;
  return rigFacts({
    nodeVersion: process.versions.node,
    bunVersion,
    pythonVersion: null,
    generator: `onehop load on ${name}`,
  });
}

/**
 * Parts measured before, when the same code measured them on the same machine; else none. Changed
 * files have no name for what they are, so they never count as the same.
 */
export function earlierParts(text: string, rig: RigFacts): Calibration['parts'] {
  try {
    const found = JSON.parse(text) as Calibration;
    const isSame = JSON.stringify(found.rig) === JSON.stringify(rig);
    const isNamed = rig.commit != null && !rig.commit.endsWith('-dirty');
    const isOurs = found.kind === 'onehop-calibration' && found.schemaVersion === 2;
    return isOurs && isSame && isNamed ? found.parts : {};
  } catch {
    return {};
  }
}

function readEarlier(path: string, rig: RigFacts): Calibration['parts'] {
  try {
    return earlierParts(readFileSync(path, 'utf8'), rig);
  } catch {
    return {};
  }
}

interface Settings {
  wanted: readonly CalibrationPart[];
  rounds: number;
  seconds: number;
  stallSeconds: number;
  runtime: LoadRuntime;
}

/** @throws CliError with one sentence about the first flag that is wrong */
function readFlags(flags: CalibrateFlags): Settings {
  const { part } = flags;
  return {
    wanted:
      part.length === 0
        ? calibrationParts
        : part.map((text) => parseChoice('--part', text, calibrationParts)),
    rounds: parseCount('--rounds', flags.rounds),
    seconds: parseCount('--seconds', flags.seconds),
    stallSeconds: parseCount('--stall-seconds', flags.stallSeconds),
    runtime: parseChoice('--runtime', flags.runtime, ['auto', 'node', 'bun']),
  };
}

/** Where the result goes, looked at before anything is measured. @throws CliError when it cannot */
function outputPath(given: string): string {
  const path = resolve(given);
  try {
    makeDirectory(dirname(path));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new CliError(`-o: cannot make the directory ${dirname(path)}: ${code}`);
  }
  return checkOutput(path)!;
}

async function measure(settings: Settings, signal: AbortSignal): Promise<Calibration['parts']> {
  const { wanted, rounds, seconds, stallSeconds, runtime } = settings;
  const common = { runtime, signal, onStep: (text: string) => console.error(picocolors.dim(text)) };
  const parts: Calibration['parts'] = {};
  for (const part of calibrationParts) {
    if (!wanted.includes(part)) continue;
    if (part === 'stall') parts.stall = await runStall({ ...common, seconds: stallSeconds });
    else parts[part] = await runScenario(part, { ...common, ...amountOf(part, rounds, seconds) });
  }
  return parts;
}

async function run(flags: CalibrateFlags): Promise<void> {
  const settings = readFlags(flags);
  const rig = rigOf(settings.runtime);
  const output = outputPath(flags.output);
  const stop = new AbortController();
  const interrupt = (): void => {
    if (stop.signal.aborted) process.exit(ExitCode.Interrupted);
    stop.abort();
  };
  process.on('SIGINT', interrupt);
  process.on('SIGTERM', interrupt);
  try {
    const measured = await measure(settings, stop.signal);
    const parts = { ...readEarlier(output, rig), ...measured };
    const calibration: Calibration = {
      kind: 'onehop-calibration',
      schemaVersion: 2,
      rig,
      bars: judgeCalibration(parts),
      parts,
      leftOut: (['wrk', 'oha'] as const)
        .filter((tool) => toolVersion(tool) === null)
        .map((tool) => `${tool} was not found on PATH`),
    };
    writeFileAtomically(output, `${JSON.stringify(calibration, null, 2)}\n`);
    process.stdout.write(`${calibrationText(calibration)}\nWritten to ${output}\n`);
    if (calibration.bars.some(({ passed }) => !passed)) process.exitCode = ExitCode.Breached;
  } finally {
    process.off('SIGINT', interrupt);
    process.off('SIGTERM', interrupt);
  }
}

export function registerCalibrate(program: Command): void {
  program
    .command('calibrate')
    .description('compare this generator with wrk and oha, and its open loop with arithmetic')
    .option(
      '--part <part>',
      `only this part, repeatable: ${calibrationParts.join(', ')}; the others stay as they are in the file`,
      (part: string, before: string[]) => [...before, part],
      [] as string[],
    )
    .option('--rounds <n>', 'interleaved rounds of `spread`; the others take fewer', '15')
    .option('--seconds <n>', 'length of each run; twice as long in step', '1')
    .option('--stall-seconds <n>', 'length of the open loop run; a tenth of it is lost', '10')
    .option('--runtime <runtime>', 'generate on auto, node or bun', 'auto')
    .option('-o, --output <file>', 'where the result goes', 'lab/results/calibrate.json')
    .action(run);
}
