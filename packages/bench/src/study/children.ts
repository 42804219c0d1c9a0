/**
 * Every process that a study starts, so that none outlives it. Each child leads a process group of
 * its own: Ctrl-C in a terminal reaches only the study, which then ends them in order. A small
 * reaper process watches the study itself and ends the groups when the study is killed outright.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { CliError } from '../cli-error.ts';

export interface ReadyLine {
  port: number;
  pid: number;
  /** Where an upstream that speaks HTTP/2 only answers about itself, over HTTP/1.1. */
  controlPort: number | null;
}

export interface ServerProcess {
  name: string;
  port: number;
  pid: number;
  controlPort: number | null;
  /** What it last said on stderr; for error messages. */
  stderrTail(): string;
  /** Null while it runs, else how it ended. */
  exitReason(): string | null;
  stop(): Promise<void>;
}

export interface ServerCommand {
  name: string;
  command: string;
  args: readonly string[];
  env: Readonly<Record<string, string>>;
  cwd?: string;
  startTimeoutMs?: number;
}

const TAIL_CHARS = 4000;

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // The whole group is gone already.
  }
}

/** Owner of all child processes of a study. */
export class Children {
  readonly #running = new Map<number, ChildProcess>();
  #reaper: ChildProcess | null = null;
  #closed = false;

  /** Starts the reaper; call once before anything else is started. */
  startReaper(): void {
    const file = fileURLToPath(new URL('./reaper.js', import.meta.url));
    this.#reaper = spawn(process.execPath, [file], {
      detached: true,
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    this.#reaper.unref();
    this.#reaper.on('error', () => {});
    this.#reaper.stdin?.on('error', () => {});
    (this.#reaper.stdin as unknown as { unref?(): void }).unref?.();
  }

  /** Puts a process under guard that another part started as the leader of its own group. */
  adopt(child: ChildProcess): void {
    const { pid } = child;
    if (pid === undefined) return;
    this.#running.set(pid, child);
    this.#reaper?.stdin?.write(`+${pid}\n`);
    child.once('exit', () => this.#forget(pid));
    if (this.#closed) signalGroup(pid, 'SIGKILL');
  }

  /**
   * Starts a server that prints one line `{"ready":true,"port":N,"pid":N}`.
   * @throws CliError when it ends first or is not ready in time; its last words are in the message
   */
  async startServer(server: ServerCommand): Promise<ServerProcess> {
    const { name, command, args, env, cwd, startTimeoutMs = 20_000 } = server;
    const child = spawn(command, args, {
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
      ...(cwd === undefined ? {} : { cwd }),
    });
    let stderr = '';
    let exit: string | null = null;
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      stderr = (stderr + text).slice(-TAIL_CHARS);
    });
    child.once('exit', (code, signal) => {
      exit = signal === null ? `exit code ${code}` : `signal ${signal}`;
    });
    this.adopt(child);
    try {
      const ready = await readyLine(child, startTimeoutMs);
      return {
        name,
        port: ready.port,
        pid: ready.pid,
        controlPort: ready.controlPort,
        stderrTail: () => stderr.trim(),
        exitReason: () => exit,
        stop: () => this.#stop(child, () => exit !== null),
      };
    } catch (error) {
      if (child.pid !== undefined) signalGroup(child.pid, 'SIGKILL');
      const said = stderr.trim() === '' ? '' : `: ${lastLines(stderr)}`;
      throw new CliError(`${name} did not start (${(error as Error).message})${said}`);
    }
  }

  /** Ends everything at once. Afterwards whatever is still being started is ended too. */
  async stopAll(): Promise<void> {
    this.#closed = true;
    const exits = [...this.#running.values()].map((child) =>
      child.exitCode === null && child.signalCode === null ? once(child, 'exit') : null,
    );
    for (const pid of this.#running.keys()) signalGroup(pid, 'SIGKILL');
    await Promise.all(exits);
    this.#reaper?.stdin?.end();
    this.#reaper = null;
  }

  /** For tests and messages: pids of what runs now. */
  pids(): number[] {
    return [...this.#running.keys()];
  }

  #forget(pid: number): void {
    this.#running.delete(pid);
    this.#reaper?.stdin?.write(`-${pid}\n`);
  }

  /** At once: a server under study has nothing to save, and a graceful end takes its time. */
  async #stop(child: ChildProcess, ended: () => boolean): Promise<void> {
    if (child.pid === undefined) return;
    const exited = ended() ? null : once(child, 'exit');
    // Also when the leader is gone: members of its group may have outlived it.
    signalGroup(child.pid, 'SIGKILL');
    await exited;
  }
}

function lastLines(text: string): string {
  return text.trim().split('\n').slice(-3).join(' / ').slice(-500);
}

/** Waits for the ready line and keeps the pipe flowing afterwards. */
function readyLine(child: ChildProcess, timeoutMs: number): Promise<ReadyLine> {
  return new Promise((resolve, reject) => {
    let text = '';
    const timer = setTimeout(() => {
      reject(new Error(`not ready after ${timeoutMs / 1000} s`));
    }, timeoutMs);
    const finish = (): void => clearTimeout(timer);
    child.once('error', (error) => {
      finish();
      reject(error);
    });
    // `close`, not `exit`: the last words on stderr have then arrived.
    child.once('close', (code, signal) => {
      finish();
      reject(new Error(signal === null ? `exit code ${code}` : `signal ${signal}`));
    });
    child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      if (text.length > 100_000) return;
      text += chunk;
      for (const line of text.split('\n').slice(0, -1)) {
        const ready = parseReady(line);
        if (ready === null) continue;
        finish();
        resolve(ready);
      }
    });
  });
}

/** Reads a ready line; null for anything else that a server may print before it. */
export function parseReady(line: string): ReadyLine | null {
  if (!line.startsWith('{')) return null;
  try {
    const value = JSON.parse(line) as {
      ready?: unknown;
      port?: unknown;
      pid?: unknown;
      controlPort?: unknown;
    };
    if (value.ready !== true || typeof value.port !== 'number') return null;
    return {
      port: value.port,
      pid: typeof value.pid === 'number' ? value.pid : 0,
      controlPort: typeof value.controlPort === 'number' ? value.controlPort : null,
    };
  } catch {
    return null;
  }
}
