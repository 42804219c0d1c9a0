/**
 * The `onehop` command. `bench` and `mock` live in packages of their own, so that installing
 * `onehop` stays small: they are loaded only when asked for, and a missing one is said plainly.
 */
import { Command, CommanderError } from 'commander';
import { checkCommand } from './check.ts';
import { explainCommand } from './explain.ts';
import { serveCommand } from './serve.ts';
import { version } from './version.ts';

/** What the `./cli` door of a companion package exports: runs to the end, resolves to an exit code. */
interface CompanionCli {
  main(args: readonly string[]): Promise<number>;
}

async function delegate(command: string, packageName: string, args: string[]): Promise<number> {
  let companion: CompanionCli;
  try {
    // The name is not a literal, so that this package builds without its companions.
    companion = (await import(`${packageName}/cli`)) as CompanionCli;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    const missing = code === 'ERR_MODULE_NOT_FOUND' || code === 'MODULE_NOT_FOUND';
    if (!missing || !String((error as Error).message).includes(packageName)) throw error;
    console.error(
      `onehop: \`onehop ${command}\` needs the package ${packageName}; install it with \`npm i -D ${packageName}\``,
    );
    return 1;
  }
  return companion.main(args);
}

function companionCommand(program: Command, name: string, packageName: string, text: string): void {
  program
    .command(name)
    .description(text)
    .argument('[args...]')
    // Everything after the name, `--help` included, belongs to the companion.
    .helpOption(false)
    .allowUnknownOption()
    .passThroughOptions()
    .action(async (args: string[]) => {
      process.exitCode = await delegate(name, packageName, args);
    });
}

/** Builds the program; commands of this package are registered here, one function per file. */
export function createProgram(): Command {
  const program = new Command('onehop')
    .description('One fast hop between your API and your models')
    .version(version(), '-V, --version', 'print the version')
    .enablePositionalOptions()
    .showHelpAfterError('(onehop --help lists the commands)')
    .exitOverride();
  serveCommand(program);
  checkCommand(program);
  explainCommand(program);
  companionCommand(program, 'bench', '@onehop/bench', 'load generator, HTTP client study, reports');
  companionCommand(program, 'mock', '@onehop/mock', 'stand-in inference services');
  return program;
}

/** Runs the command line; `process.exitCode` tells how it went. Usage errors are 1. */
export async function main(argv: readonly string[]): Promise<void> {
  const program = createProgram();
  if (argv.length === 0) {
    program.outputHelp({ error: true });
    process.exitCode = 1;
    return;
  }
  try {
    await program.parseAsync([...argv], { from: 'user' });
  } catch (error) {
    // Commander has printed its own one sentence already.
    if (!(error instanceof CommanderError)) throw error;
    process.exitCode = error.exitCode;
  }
}

await main(process.argv.slice(2));
