/** Runs a load plan in a process of its own, on the faster runtime that is there. */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { findBun } from 'onehop/cli/find-bun';
import { CliError, type ExitCode } from '../cli-error.ts';
import type { ChildMessage } from './child.ts';
import { checkPlan, encodePlan } from './plan.ts';
import type { LoadPlan, LoadProgress, LoadResult } from './types.ts';

export type LoadRuntime = 'auto' | 'node' | 'bun';

export interface SpawnOptions {
  /** `auto`: Bun when it is there, else Node. */
  runtime?: LoadRuntime;
  /** Words in front of the command, for example `taskset -c 1`. */
  launcher?: readonly string[];
  signal?: AbortSignal;
  onProgress?: (progress: LoadProgress) => void;
}

/** @throws CliError when Bun is asked for and missing. */
export function runtimeCommand(runtime: LoadRuntime): string {
  if (runtime === 'node') {
    return process.versions['bun'] === undefined ? process.execPath : 'node';
  }
  const bun = findBun();
  if (bun !== null) return bun;
  if (runtime === 'bun') {
    throw new CliError('Bun was not found; install it with `npm i -D bun` or set ONEHOP_BUN');
  }
  return process.versions['bun'] === undefined ? process.execPath : 'node';
}

/**
 * Like `runLoad`, in a child process: what this process does (drawing, bookkeeping) cannot disturb
 * the measurement. On `signal` the child ends the run and its partial result is returned.
 * @throws CliError as `runLoad` does.
 */
export function spawnLoad(plan: LoadPlan, options: SpawnOptions = {}): Promise<LoadResult> {
  checkPlan(plan);
  const command = runtimeCommand(options.runtime ?? 'auto');
  const script = fileURLToPath(new URL('./child.js', import.meta.url));
  const [file, ...words] = [...(options.launcher ?? []), command, script];
  const child = spawn(file!, words, { stdio: ['pipe', 'pipe', 'inherit'] });
  return new Promise((resolve, reject) => {
    let settled = false;
    let fallback: NodeJS.Timeout | null = null;
    const stop = (): void => {
      child.stdin.write('stop\n');
      // The child needs no second to stop, once it has begun; one that hangs is ended.
      fallback = setTimeout(() => child.kill('SIGKILL'), 15_000);
    };
    const settle = (action: () => void): void => {
      if (settled) return;
      settled = true;
      options.signal?.removeEventListener('abort', stop);
      action();
    };
    child.on('error', (error) =>
      settle(() => reject(new CliError(`cannot start ${command}: ${error.message}`))),
    );
    // A child that is gone already is told by `close`.
    child.stdin.on('error', () => {});
    let answer: ChildMessage | null = null;
    createInterface({ input: child.stdout }).on('line', (line) => {
      let message: ChildMessage;
      try {
        message = JSON.parse(line) as ChildMessage;
      } catch {
        return;
      }
      if (message.kind === 'progress') options.onProgress?.(message.progress);
      else answer = message;
    });
    child.on('close', (code, signal) => {
      if (fallback !== null) clearTimeout(fallback);
      settle(() => {
        if (answer?.kind === 'result') resolve({ ...answer.result, plan });
        else if (answer?.kind === 'error') {
          reject(new CliError(answer.message, answer.exitCode as ExitCode));
        } else {
          reject(new CliError(`the load generator ended with ${signal ?? `code ${code}`}`));
        }
      });
    });
    child.stdin.write(`${encodePlan(plan)}\n`);
    options.signal?.addEventListener('abort', stop, { once: true });
    if (options.signal?.aborted === true) stop();
  });
}
