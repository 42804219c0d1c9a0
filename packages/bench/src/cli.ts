/**
 * `onehop bench`: each command registers itself from its own folder. Actions set
 * `process.exitCode` when they end otherwise than fine, or throw a {@link CliError}.
 */
import { Command, CommanderError } from 'commander';
import { registerApi } from './api/command.ts';
import { registerAudit } from './audit/command.ts';
import { CliError } from './cli-error.ts';
import { registerCalibrate, registerImport, registerLoad } from './load/command.ts';
import { registerReport } from './report/command.ts';
import { registerStudy } from './study/command.ts';

export function createProgram(): Command {
  const program = new Command('onehop bench')
    .description('The lab: load generator, HTTP client study, reports')
    .enablePositionalOptions()
    .exitOverride();
  registerApi(program);
  registerAudit(program);
  registerLoad(program);
  registerImport(program);
  registerCalibrate(program);
  registerReport(program);
  registerStudy(program);
  return program;
}

/**
 * Runs `onehop bench <args>` and resolves to the exit code (see `ExitCode`). Every expected failure
 * has been told on stderr in one sentence; what rejects is a bug.
 */
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
    if (error instanceof CommanderError) return error.exitCode;
    if (!(error instanceof CliError)) throw error;
    console.error(`onehop bench: ${error.message}`);
    return error.exitCode;
  } finally {
    process.exitCode = before;
  }
}
