/** What the study's small server programs share: the ready line, clean stops, one-sentence errors. */
import { CliError } from '../cli-error.ts';

export interface RunningServer {
  host: string;
  port: number;
  /** Where a server that speaks HTTP/2 only answers about itself, over HTTP/1.1. */
  controlPort?: number;
  close(): Promise<void>;
}

/** `http://host:port/` of a running server. */
export function urlOf(server: RunningServer): string {
  const host = server.host.includes(':') ? `[${server.host}]` : server.host;
  return `http://${host}:${server.port}/`;
}

/** The first line on stdout, so that a parent can use port 0. */
export function announceReady(server: RunningServer): void {
  const { port, controlPort } = server;
  const line = { ready: true, port, pid: process.pid, url: urlOf(server), controlPort };
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

/** An error of `listen` as one sentence where the reason is known, else the error itself. */
export function explainListenError(error: unknown, host: string, port: number): unknown {
  const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : null;
  if (code === 'EADDRINUSE' || code === 'ADDRESS_IN_USE') {
    return new CliError(`port ${port} on ${host} is already in use`);
  }
  if (code === 'EACCES') {
    return new CliError(`no permission to listen on port ${port} of ${host}`);
  }
  if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND' || code === 'EAI_AGAIN') {
    return new CliError(`${host} is not an address of this machine`);
  }
  return error;
}

/**
 * Prints the ready line and resolves after SIGTERM or SIGINT has closed the server; a second signal
 * ends the process at once.
 */
export function serveUntilSignal(server: RunningServer): Promise<void> {
  return new Promise((resolve, reject) => {
    let stopping = false;
    const stop = () => {
      if (stopping) process.exit(1);
      stopping = true;
      server.close().then(resolve, reject);
    };
    process.on('SIGTERM', stop);
    process.on('SIGINT', stop);
    announceReady(server);
  });
}

/** Runs a server program to its end and leaves the process: 0 after a signal, 1 after an error. */
export async function runServerProgram(
  name: string,
  start: () => Promise<RunningServer>,
): Promise<never> {
  try {
    await serveUntilSignal(await start());
    process.exit(0);
  } catch (error) {
    const text = error instanceof CliError ? error.message : (error as Error).stack;
    process.stderr.write(`${name}: ${text}\n`);
    process.exit(1);
  }
}
