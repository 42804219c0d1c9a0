/** Starts the study's server programs as processes of their own and talks to their measure routes. */

import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { findBun } from 'onehop/cli/find-bun';
import { CliError } from '../cli-error.ts';
import type { ReuseMode, Runtime } from '../contestants/index.ts';
import type { ApiMeasure } from './measure.ts';

/** Which program to start: the API, the control, or the HTTP/2 upstream. */
export type ServerProgram = 'api' | 'null-forwarder' | 'h2-upstream';

export interface LaunchOptions {
  program: ServerProgram;
  runtime: Exclude<Runtime, 'python'>;
  requestUrl?: string;
  reuse?: ReuseMode;
  /** Default: all contestants of the runtime. */
  clients?: readonly string[];
  connectionsMax?: number;
  timeoutMs?: number;
  latencyMs?: number;
  /** More environment variables; they win. */
  env?: Readonly<Record<string, string>>;
}

export interface LaunchCommand {
  command: string;
  args: string[];
  env: Record<string, string>;
}

const programFiles: Record<ServerProgram, string> = {
  api: 'main.js',
  'null-forwarder': 'null-forwarder.js',
  'h2-upstream': 'h2-upstream.js',
};

/** Path of a runtime's executable. Throws CliError when there is none. */
export function runtimeExecutable(runtime: Exclude<Runtime, 'python'>): string {
  if (runtime === 'node') {
    return process.versions['bun'] === undefined ? process.execPath : 'node';
  }
  const bun = findBun();
  if (bun === null) throw new CliError('Bun was not found');
  return bun;
}

/** The environment that says so to a server program, in whichever language it is written. */
export function launchEnvironment(
  options: Omit<LaunchOptions, 'program' | 'runtime'>,
): Record<string, string> {
  const env: Record<string, string> = {
    API_HOST: '127.0.0.1',
    API_PORT: '0',
    ONEHOP_MEASURE: '1',
    // Some clients obey a proxy of the environment; the study goes to the upstream itself.
    HTTP_PROXY: '',
    http_proxy: '',
  };
  if (options.requestUrl !== undefined) env['REQUEST_URL'] = options.requestUrl;
  if (options.reuse !== undefined) env['ONEHOP_REUSE'] = options.reuse;
  if (options.clients !== undefined) env['ONEHOP_CLIENTS'] = options.clients.join(',');
  if (options.timeoutMs !== undefined) env['ONEHOP_TIMEOUT_MS'] = String(options.timeoutMs);
  if (options.latencyMs !== undefined) env['ONEHOP_LATENCY_MS'] = String(options.latencyMs);
  if (options.connectionsMax !== undefined) {
    env['ONEHOP_CONNECTIONS_MAX'] = String(options.connectionsMax);
    // The only limit that Bun's fetch knows, and it is read once at start.
    env['BUN_CONFIG_MAX_HTTP_REQUESTS'] = String(options.connectionsMax);
  }
  return { ...env, ...options.env };
}

/** Command line and environment of a server program; it listens on a free port of 127.0.0.1. */
export function launchCommand(options: LaunchOptions): LaunchCommand {
  const file = fileURLToPath(new URL(programFiles[options.program], import.meta.url));
  return {
    command: runtimeExecutable(options.runtime),
    args: [file],
    env: launchEnvironment(options),
  };
}

export interface ServerProcess {
  readonly pid: number;
  readonly port: number;
  /** With trailing slash. */
  readonly url: string;
  measureReset(): Promise<void>;
  measure(): Promise<ApiMeasure>;
  /** SIGTERM, then SIGKILL after 3 s. Resolves when the process is gone. */
  stop(): Promise<void>;
}

interface ReadyLine {
  port: number;
  url: string;
}

/** Resolves with the ready line; rejects with what the process said when it ended before. */
function waitForReady(child: ChildProcess, timeoutMs: number): Promise<ReadyLine> {
  return new Promise((resolve, reject) => {
    let out = '';
    let err = '';
    const timer = setTimeout(
      () => reject(new CliError(`the server was not ready after ${timeoutMs} ms: ${err.trim()}`)),
      timeoutMs,
    );
    child.stderr?.on('data', (chunk) => {
      if (err.length < 8192) err += chunk;
    });
    child.stdout?.on('data', (chunk) => {
      const end = out.indexOf('\n');
      if (end !== -1) return; // the rest is not ours
      out += chunk;
      if (!out.includes('\n')) return;
      clearTimeout(timer);
      try {
        resolve(JSON.parse(out.slice(0, out.indexOf('\n'))) as ReadyLine);
      } catch {
        reject(new CliError(`the server's first line is not its ready line: ${out.trim()}`));
      }
    });
    child.on('error', (error) => {
      clearTimeout(timer);
      reject(new CliError(`the server could not be started: ${error.message}`));
    });
    child.on('exit', (code, signal) => {
      clearTimeout(timer);
      reject(new CliError(err.trim() || `the server ended with ${signal ?? `code ${code}`}`));
    });
  });
}

async function stopProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), 3000);
  await exited;
  clearTimeout(timer);
}

/**
 * Starts a program (see {@link launchCommand}; Python peers bring their own) and waits for its ready
 * line. Throws CliError with the program's own sentence when it does not come up.
 */
export async function launch(
  { command, args, env }: LaunchCommand,
  readyTimeoutMs = 30_000,
): Promise<ServerProcess> {
  const child = spawn(command, args, {
    env: { ...process.env, ...env },
    // A child that is asked to end with us knows it by the end of its stdin.
    stdio: [env['ONEHOP_EXIT_WITH_PARENT'] === '1' ? 'pipe' : 'ignore', 'pipe', 'pipe'],
  });
  // A parent that dies must not leave servers behind.
  const killNow = () => child.kill('SIGKILL');
  process.once('exit', killNow);
  child.once('exit', () => process.removeListener('exit', killNow));
  let ready: ReadyLine;
  try {
    ready = await waitForReady(child, readyTimeoutMs);
  } catch (error) {
    await stopProcess(child);
    throw error;
  }
  const request = async (path: string, method: string): Promise<unknown> => {
    const response = await fetch(ready.url + path, { method, headers: { connection: 'close' } });
    if (!response.ok) throw new Error(`${path} answered ${response.status}`);
    return response.json();
  };
  return {
    pid: child.pid!,
    port: ready.port,
    url: ready.url,
    async measureReset() {
      await request('_onehop/measure/reset/', 'POST');
    },
    measure: async () => (await request('_onehop/measure/', 'GET')) as ApiMeasure,
    stop: () => stopProcess(child),
  };
}
