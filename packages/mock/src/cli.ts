/** `onehop mock`: stand-in services for trying, measuring and breaking things. */
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { baseUrl, listenFailure, type Running, runUntilStopped } from './process.ts';
import { startStudyUpstream } from './study.ts';

interface ListenFlags {
  host: string;
  port: number;
  exitWithParent: boolean;
}

export function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= min && value <= max)) {
      throw new InvalidArgumentError(`Give a whole number from ${min} to ${max}.`);
    }
    return value;
  };
}

function milliseconds(text: string): number {
  const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  if (!(value <= 3_600_000)) {
    throw new InvalidArgumentError('Give milliseconds, at most 3600000.');
  }
  return value;
}

function withListenFlags(command: Command): Command {
  return command
    .option('--host <address>', 'address to listen on', '127.0.0.1')
    .addOption(
      new Option('--port <number>', 'port to listen on; 0 picks a free one')
        .default(0)
        .argParser(wholeNumber(0, 65_535)),
    )
    .option('--exit-with-parent', 'end when stdin closes', false);
}

/** Starts a stand-in and stays until it is stopped; the exit code goes to `process.exitCode`. */
async function serve(
  flags: ListenFlags,
  start: () => Promise<Running>,
  describe: (url: string) => string,
): Promise<void> {
  let running: Running;
  try {
    running = await start();
  } catch (error) {
    console.error(`onehop mock: ${listenFailure(error, flags.host, flags.port)}`);
    process.exitCode = 1;
    return;
  }
  const text = describe(baseUrl(running.host, running.port));
  process.exitCode = await runUntilStopped(running, text, flags.exitWithParent);
}

function registerStudy(program: Command): void {
  withListenFlags(
    program
      .command('study')
      .description('the upstream of the study: GET /request_response/ answers a random UUID'),
  )
    .addOption(
      new Option('--latency <ms>', 'time each answer takes').default(0).argParser(milliseconds),
    )
    .action(async (flags: ListenFlags & { latency: number }) => {
      await serve(
        flags,
        () => startStudyUpstream({ host: flags.host, port: flags.port, latencyMs: flags.latency }),
        (url) =>
          `study upstream on ${url}, latency ${flags.latency} ms\n` +
          `try: curl ${url}/request_response/\n` +
          `counters: curl ${url}/_onehop/upstream/ (reset: curl -X POST ${url}/_onehop/upstream/reset/)`,
      );
    });
}

export function createProgram(): Command {
  const program = new Command('onehop mock')
    .description('Stand-in services for trying, measuring and breaking things')
    .enablePositionalOptions()
    .showHelpAfterError('(onehop mock --help lists the stand-ins)')
    .exitOverride();
  registerStudy(program);
  return program;
}

/** Runs `onehop mock <args>` and resolves to the exit code once the stand-in has stopped. */
export async function main(args: readonly string[]): Promise<number> {
  const program = createProgram();
  if (args.length === 0) {
    program.outputHelp({ error: true });
    return 1;
  }
  const before = process.exitCode;
  process.exitCode = undefined;
  try {
    await program.parseAsync([...args], { from: 'user' });
    return Number(process.exitCode ?? 0);
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return error.exitCode;
  } finally {
    process.exitCode = before;
  }
}
