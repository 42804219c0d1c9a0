/** `onehop mock`: stand-in services for trying, measuring and breaking things. */
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { FAULTS, type Fault, parseFault } from './faults.ts';
import { type LatencySpec, noLatency, parseLatency } from './latency.ts';
import { startOpenAiService } from './openai.ts';
import { sizeBytesMax, startPlainService } from './plain.ts';
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

/** Turns a RangeError of a parser into commander's own kind, so that it becomes one sentence. */
function checked<T>(parse: (text: string) => T): (text: string) => T {
  return (text) => {
    try {
      return parse(text);
    } catch (error) {
      throw new InvalidArgumentError(`${(error as Error).message}.`);
    }
  };
}

function share(text: string): number {
  const value = /^(0|1|0?\.\d+|1\.0+)$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isNaN(value)) throw new InvalidArgumentError('Give a share from 0 to 1.');
  return value;
}

interface ServiceFlags extends ListenFlags {
  seed?: number;
  fault?: Fault;
  faultRate: number;
}

function faultHelp(): string {
  const lines = Object.entries(FAULTS).map(([name, spec]) => {
    const argument = 'argument' in spec ? `:${spec.argument.default}` : '';
    return `  ${`${name}${argument}`.padEnd(20)}${spec.help}`;
  });
  return `\nFaults, for --fault, the header x-mock-fault or the query parameter fault:\n${lines.join('\n')}`;
}

function withServiceFlags(command: Command): Command {
  return withListenFlags(command)
    .addOption(
      new Option('--seed <number>', 'make latencies and choices reproducible').argParser(
        wholeNumber(0, 2 ** 31),
      ),
    )
    .addOption(
      new Option('--fault <name>', 'what goes wrong with requests that choose nothing').argParser(
        checked(parseFault),
      ),
    )
    .addOption(
      new Option('--fault-rate <share>', 'share of requests the fault hits')
        .default(1)
        .argParser(share),
    )
    .addHelpText('after', faultHelp());
}

function serviceOptions(flags: ServiceFlags) {
  const { host, port, faultRate, seed, fault } = flags;
  return {
    host,
    port,
    faultRate,
    ...(seed === undefined ? {} : { seed }),
    ...(fault === undefined ? {} : { fault }),
  };
}

function latencyOption(flag: string, text: string): Option {
  return new Option(
    `${flag} <spec>`,
    `${text}: 20, uniform:10-30, exponential:20, lognormal:20,0.5`,
  )
    .default(noLatency, '0')
    .argParser(checked(parseLatency));
}

interface PlainFlags extends ServiceFlags {
  size: number;
  status: number;
  chunked: boolean;
  latency: LatencySpec;
}

function registerPlain(program: Command): void {
  withServiceFlags(
    program.command('plain').description('answers any request with as many bytes as you like'),
  )
    .addOption(
      new Option('--size <bytes>', 'bytes of each body')
        .default(50)
        .argParser(wholeNumber(0, sizeBytesMax)),
    )
    .addOption(
      new Option('--status <code>', 'status').default(200).argParser(wholeNumber(200, 599)),
    )
    .option('--chunked', 'chunked framing instead of Content-Length', false)
    .addOption(latencyOption('--latency', 'time before each answer in ms'))
    .action(async (flags: PlainFlags) => {
      await serve(
        flags,
        () =>
          startPlainService({
            ...serviceOptions(flags),
            sizeBytes: flags.size,
            status: flags.status,
            framing: flags.chunked ? 'chunked' : 'length',
            latency: flags.latency,
          }),
        (url) =>
          `plain service on ${url}\n` +
          `try: curl '${url}/?size=100&latency=20'\n` +
          `a fault: curl '${url}/?fault=reset-in-body'\n` +
          `what it saw: curl ${url}/_onehop/upstream/`,
      );
    });
}

interface OpenAiFlags extends ServiceFlags {
  firstToken: LatencySpec;
  tokenGap: LatencySpec;
  tokens: number;
  model: string[];
  apiKey?: string;
}

function registerOpenAi(program: Command): void {
  withServiceFlags(
    program.command('openai').description('chat, completions, embeddings and models'),
  )
    .addOption(latencyOption('--first-token', 'request to first token in ms'))
    .addOption(latencyOption('--token-gap', 'between tokens in ms'))
    .addOption(
      new Option('--tokens <number>', 'tokens of an answer whose request sets no limit')
        .default(16)
        .argParser(wholeNumber(1, 100_000)),
    )
    .addOption(
      new Option('--model <name...>', 'models it knows; any by default').default([], 'any'),
    )
    .option('--api-key <key>', 'require it as bearer token')
    .action(async (flags: OpenAiFlags) => {
      await serve(
        flags,
        () =>
          startOpenAiService({
            ...serviceOptions(flags),
            firstToken: flags.firstToken,
            tokenGap: flags.tokenGap,
            tokens: flags.tokens,
            models: flags.model,
            ...(flags.apiKey === undefined ? {} : { apiKey: flags.apiKey }),
          }),
        (url) =>
          `OpenAI-shaped service on ${url}/v1\n` +
          `try: curl -N ${url}/v1/chat/completions -H 'content-type: application/json' ` +
          `-d '{"model":"mock","stream":true,"messages":[{"role":"user","content":"hi"}]}'\n` +
          `what it saw: curl ${url}/_onehop/upstream/`,
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
  registerPlain(program);
  registerOpenAi(program);
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
