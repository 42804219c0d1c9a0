/**
 * Exit codes of every `onehop bench` command.
 * `Breached`: a gate or threshold does not hold. `Invalid`: the rig or generator cannot support a
 * conclusion that was asked for. `Interrupted`: Ctrl-C, partial results were kept or printed.
 */
export const ExitCode = { Fine: 0, Error: 1, Breached: 3, Invalid: 4, Interrupted: 130 } as const;
export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

/** Ends a command with one clear sentence on stderr and an exit code; no stack trace is shown. */
export class CliError extends Error {
  override readonly name = 'CliError';
  readonly exitCode: ExitCode;

  constructor(message: string, exitCode: ExitCode = ExitCode.Error) {
    super(message);
    this.exitCode = exitCode;
  }
}
