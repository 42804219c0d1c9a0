/** `onehop bench study`. */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { findBun } from 'onehop/cli/find-bun';
import { CliError, ExitCode } from '../cli-error.ts';
import { checkOptions, type RawOptions, readOptions, type StudyOptions } from './options.ts';
import { type StoredStudy, StudyStore, timestamp } from './store.ts';

interface StudyFlags extends RawOptions {
  out?: string;
  resume?: string;
}

/** Options that may change when a study is carried on: they say how long, not what. */
const EXTENDING = new Set<keyof StudyFlags>(['rounds', 'budget', 'untilDecided', 'out', 'resume']);

/** Which settings an option decides. */
const DECIDES: Partial<Record<keyof RawOptions, (keyof StudyOptions)[]>> = {
  clients: ['clients'],
  reuse: ['reuse'],
  requests: ['requests'],
  connections: ['connections'],
  latency: ['latenciesMs'],
  seed: ['seed'],
  runtime: ['runtimes'],
  python: ['python'],
  audit: ['audit'],
  generator: ['generator'],
  upstream: ['upstream'],
  case: ['case'],
  openLoop: ['openLoopRates'],
  full: ['requests', 'connections', 'planning'],
  cellLimit: ['cellMsMax'],
  slices: ['slices'],
  pin: ['pin'],
  warmup: ['warmupMs'],
  connectionsMax: ['connectionsMax'],
};

/** The stored settings, extended by what may change. @throws CliError when another one differs */
export function resumedOptions(
  flags: StudyFlags,
  stored: StoredStudy,
  bunPresent: boolean,
): StudyOptions {
  const given = readOptions(flags, bunPresent);
  for (const flag of Object.keys(flags) as (keyof RawOptions)[]) {
    if (EXTENDING.has(flag)) continue;
    for (const setting of DECIDES[flag] ?? []) {
      const [was, is] = [stored.options[setting], given[setting]].map((v) => JSON.stringify(v));
      if (was === is) continue;
      throw new CliError(
        `--resume: the study was begun with ${setting} ${was}, not ${is}; leave the option out or start a new study`,
      );
    }
  }
  const { options, spentMs } = stored;
  let { budgetMs } = options;
  if (flags.budget !== undefined) ({ budgetMs } = given);
  // The rest of the time, but never so little that nothing could be done with it.
  else if (budgetMs !== null) budgetMs = Math.max(60_000, budgetMs - spentMs);
  return {
    ...options,
    rounds: flags.rounds === undefined ? options.rounds : given.rounds,
    untilDecided: flags.untilDecided ?? options.untilDecided,
    budgetMs,
  };
}

/** The command line that repeats a study, with the seed that was drawn. */
export function commandText(flags: StudyFlags, seed: number): string {
  const names: Record<string, string> = { requests: '-n', connections: '-c' };
  const words = ['npx onehop bench study'];
  for (const [key, value] of Object.entries({ ...flags, seed: String(seed) })) {
    if (value === undefined || value === false || key === 'resume' || key === 'out') continue;
    const option = names[key] ?? `--${key.replaceAll(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)}`;
    words.push(value === true ? option : `${option} ${value}`);
  }
  return words.join(' ');
}

/** Ctrl-C once: stop and keep. Twice: leave at once. */
function stopOnSignals(): { signal: AbortSignal; release(): void } {
  const controller = new AbortController();
  const stop = (): void => {
    if (controller.signal.aborted) process.exit(ExitCode.Interrupted);
    process.stderr.write('\nstopping; what was measured is kept (once more: leave at once)\n');
    controller.abort();
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  return {
    signal: controller.signal,
    release() {
      process.off('SIGINT', stop);
      process.off('SIGTERM', stop);
    },
  };
}

async function study(flags: StudyFlags): Promise<void> {
  const startedMs = performance.now() - process.uptime() * 1000;
  const bunPresent = findBun() !== null;
  const stored = flags.resume === undefined ? null : new StudyStore(resolve(flags.resume)).load();
  if (stored !== null && flags.out !== undefined) {
    throw new CliError('--resume and --out exclude each other: a study stays where it began');
  }
  const options =
    stored === null ? readOptions(flags, bunPresent) : resumedOptions(flags, stored, bunPresent);
  checkOptions(options);
  const dir = flags.resume ?? flags.out ?? `results/${timestamp(new Date())}`;
  const store = new StudyStore(resolve(dir));
  if (stored === null) store.create();
  // Loaded late: `--help` and a wrong option must not wait for every HTTP client.
  const { runStudy } = await import('./study.ts');
  const { signal, release } = stopOnSignals();
  try {
    const { results, interrupted } = await runStudy({
      options,
      store,
      stored,
      command: stored?.results.command ?? commandText(flags, options.seed),
      startedMs: Math.min(startedMs, performance.now()),
      progress: process.stderr,
      stopped: signal,
    });
    if (results.measurements.length === 0) {
      store.discard();
      if (!interrupted) throw new CliError(`nothing could be measured: ${results.leftOut[0]}`);
      console.error('interrupted before anything was measured; nothing is kept');
      process.exitCode = ExitCode.Interrupted;
      return;
    }
    const { presentStudy } = await import('./present.ts');
    process.exitCode = presentStudy(results, store);
    if (interrupted) console.log(`Interrupted. Go on: npx onehop bench study --resume ${dir}`);
  } catch (error) {
    if (stored === null) store.discardUnlessMeasured();
    throw error;
  } finally {
    release();
  }
}

/** Adds the command to `onehop bench`. */
export function registerStudy(program: Command): void {
  program
    .command('study')
    .description('compare HTTP clients inside a forwarding API: measure, judge, report')
    .option('--clients <names>', 'clients, comma-separated; name@bun picks a runtime, `all` all')
    .option('--case <name>', 'message, or chat: an OpenAI-shaped upstream (default message)')
    .option('--reuse <mode>', 'shared, per-request or both (default both)')
    .option('-n, --requests <list>', 'requests per run (default 10000)')
    .option(
      '-c, --connections <list>',
      'connections (default 50,10,200; the first is the main one)',
    )
    .option('--latency <list>', 'delay of the upstream in ms (default 0,5,50)')
    .option(
      '--open-loop <rates>',
      'offered requests/s of the open-loop runs, or off (default 1000)',
    )
    .option('--rounds <n>', 'rounds at most; without --budget every run is made in each of them')
    .option('--budget <time>', 'time for everything, for example 10m (default 235s)')
    .option('--until-decided', 'add rounds while pairs are undecided and the budget lasts')
    .option('--seed <n>', 'seed of the shuffle (default: drawn and written down)')
    .option('--runtime <name>', 'runtime of the API process: node, bun or both (default both)')
    .option('--python <mode>', 'auto or off: the peers behind FastAPI (default auto)')
    .option(
      '--audit <mode>',
      'auto or off: the fairness audit before the first round (default auto)',
    )
    .option('--generator <name>', 'onehop or oha (default onehop)')
    .option('--upstream <kind>', 'fast, or study: the API program a second time (default fast)')
    .option('--cell-limit <time>', 'time limit of one run (default 800ms; 10s with --full)')
    .option(
      '--slices <n>',
      'pieces of a main run, measured by turns with the other clients (default 8; 1 without a budget)',
    )
    .option('--pin <mode>', 'auto or off: a core of its own for each API process (default auto)')
    .option(
      '--warmup <time>',
      'longest warm-up of a fresh process; ends when its CPU/request falls no more (default 2500ms)',
    )
    .option(
      '--connections-max <n>',
      'upstream connections per API process (default: the highest -c)',
    )
    .option('--full', 'the original matrix: 7 n x 11 c, every client, every round')
    .option('--out <dir>', 'directory of the results (default results/<time>)')
    .option('--resume <dir>', 'carry an interrupted study on, or add rounds to one')
    .action((flags: StudyFlags) => study(flags));
}
