/** How a stand-in behaves as a process: one ready line, clean ends, one sentence when it fails. */
import { OnehopError } from 'onehop/core';

export interface Running {
  readonly host: string;
  readonly port: number;
  close(): Promise<void>;
}

/** `http://127.0.0.1:8080`, with brackets round an IPv6 address. */
export function baseUrl(host: string, port: number): string {
  return `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** One sentence for a listener that could not be opened. */
export function listenFailure(error: unknown, host: string, port: number): string {
  if (error instanceof OnehopError) {
    if (error.code === 'ADDRESS_IN_USE') {
      return `port ${port} on ${host} is in use by another process`;
    }
    return `cannot listen on ${host}:${port}: ${error.message}`;
  }
  return error instanceof Error ? error.message : String(error);
}

/**
 * Says on stdout that the stand-in is ready, in one line of JSON, and on stderr what it is; then
 * runs until SIGINT or SIGTERM, or, with `exitWithParent`, until stdin closes, which is how it
 * follows a parent that was killed. Resolves to the exit code.
 */
export async function runUntilStopped(
  running: Running,
  text: string,
  exitWithParent: boolean,
): Promise<number> {
  process.stdout.write(
    `${JSON.stringify({ ready: true, port: running.port, pid: process.pid })}\n`,
  );
  process.stderr.write(`${text}\n`);
  await new Promise<void>((resolve) => {
    const stop = (): void => {
      process.off('SIGINT', stop);
      process.off('SIGTERM', stop);
      resolve();
    };
    process.on('SIGINT', stop);
    process.on('SIGTERM', stop);
    // A reader of the ready line that went away is no reason to crash.
    process.stdout.on('error', stop);
    process.stderr.on('error', stop);
    if (exitWithParent) {
      process.stdin.on('end', stop);
      process.stdin.on('close', stop);
      process.stdin.on('error', stop);
      process.stdin.resume();
    }
  });
  await running.close();
  if (exitWithParent) process.stdin.destroy();
  return 0;
}
