/** `onehop serve` as a real process: started, asked, told to end, and never left behind. */
import { type ChildProcess, spawn } from 'node:child_process';
import { request } from 'node:http';
import { connect } from 'node:net';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(fileURLToPath(new URL('../../..', import.meta.url)));
export const binary = resolve(root, 'packages/onehop/bin/onehop.js');
export const onBun = process.versions['bun'] !== undefined;
/** The runtime of the test runs the gateway, too. */
export const ownRuntime = onBun ? 'bun' : 'node';

export interface Answer {
  readonly status: number;
  readonly headers: Record<string, string | string[] | undefined>;
  readonly body: string;
}

/** Those that run: none is to outlive whoever started it, however that ends. */
const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

export class ServeProcess {
  readonly child: ChildProcess;
  readonly exit: Promise<number | null>;
  stderr = '';
  stdout = '';
  url = '';
  admin = '';

  constructor(args: string[], options: { env?: NodeJS.ProcessEnv; executable?: string } = {}) {
    this.child = spawn(options.executable ?? process.execPath, [binary, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...options.env },
    });
    this.child.stderr!.on('data', (bytes) => {
      this.stderr += bytes;
    });
    this.child.stdout!.on('data', (bytes) => {
      this.stdout += bytes;
    });
    running.add(this.child);
    this.child.once('exit', () => running.delete(this.child));
    this.exit = new Promise((done) => this.child.once('close', (code) => done(code)));
  }

  get pid(): number {
    return this.child.pid!;
  }

  /** Waits until the gateway listens. */
  async ready(): Promise<this> {
    await this.says(/listening on (\S+)/);
    this.url = /listening on ([^\s,]+)/.exec(this.stderr)![1]!;
    this.admin = /admin on (http:\S+?):? /.exec(this.stderr)?.[1] ?? '';
    return this;
  }

  /** Waits until stderr, from `from` on, matches. */
  async says(pattern: RegExp, from = 0, timeoutMs = 30_000): Promise<void> {
    await until(
      () => {
        if (pattern.test(this.stderr.slice(from))) return true;
        if (this.child.exitCode !== null) throw new Error(`it ended; it said:\n${this.stderr}`);
        return false;
      },
      `stderr to match ${pattern}`,
      timeoutMs,
    ).catch((error: Error) => {
      throw new Error(`${error.message}; it said:\n${this.stderr}`);
    });
  }

  kill(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  /** Ends it, whatever the test did to it. */
  async end(): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      this.child.kill('SIGTERM');
      const timer = setTimeout(() => this.child.kill('SIGKILL'), 8000);
      await this.exit;
      clearTimeout(timer);
    }
  }
}

export async function serve(
  args: string[],
  options: { env?: NodeJS.ProcessEnv; executable?: string } = {},
): Promise<ServeProcess> {
  const served = new ServeProcess(['serve', ...args], options);
  try {
    return await served.ready();
  } catch (error) {
    await served.end();
    throw error;
  }
}

export const pause = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

export async function until(
  met: () => boolean | Promise<boolean>,
  what: string,
  timeoutMs = 20_000,
): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!(await met())) {
    if (performance.now() > end) throw new Error(`waited in vain for ${what}`);
    await pause(20);
  }
}

/** One request on a connection of its own. */
export function ask(
  url: string,
  options: { method?: string; headers?: Record<string, string>; body?: string } = {},
): Promise<Answer> {
  return new Promise((done, fail) => {
    const { method = 'GET', headers = {}, body } = options;
    const outgoing = request(url, { method, headers, agent: false }, (incoming) => {
      let text = '';
      incoming.setEncoding('utf8');
      incoming.on('data', (part: string) => {
        text += part;
      });
      incoming.on('end', () =>
        done({ status: incoming.statusCode!, headers: incoming.headers, body: text }),
      );
      incoming.on('error', fail);
      incoming.on('aborted', () => fail(new Error('the response was cut')));
    });
    outgoing.on('error', fail);
    outgoing.end(body);
  });
}

/** Value of one sample of a Prometheus text; 0 when it is not there. */
export function sample(text: string, name: string, labels: Record<string, string> = {}): number {
  for (const line of text.split('\n')) {
    const match = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (match === null || match[1] !== name) continue;
    const given = match[2] ?? '';
    if (Object.entries(labels).every(([key, value]) => given.includes(`${key}="${value}"`))) {
      return Number(match[3]);
    }
  }
  return 0;
}

export interface LoadResult {
  ok: number;
  readonly failures: string[];
}

/**
 * Callers that send one GET after the other on connections they keep, open a new one only when told
 * `Connection: close`, and never try again: whatever the gateway loses shows.
 */
export class KeptLoad {
  readonly result: LoadResult = { ok: 0, failures: [] };
  readonly #port: number;
  #running = true;
  readonly #loops: Promise<void>[];

  constructor(url: string, callers: number, path = '/') {
    this.#port = Number(new URL(url).port);
    this.#loops = Array.from({ length: callers }, () => this.#loop(path));
  }

  async stop(): Promise<LoadResult> {
    this.#running = false;
    await Promise.all(this.#loops);
    return this.result;
  }

  async #loop(path: string): Promise<void> {
    while (this.#running) await this.#connection(path);
  }

  /** Sends requests on one connection until it may not be used again. */
  #connection(path: string): Promise<void> {
    return new Promise((done) => {
      const socket = connect(this.#port, '127.0.0.1');
      const head = `GET ${path} HTTP/1.1\r\nHost: load.test\r\n\r\n`;
      let text = '';
      let waiting = false;
      const next = (): void => {
        if (!this.#running) {
          socket.end();
          done();
          return;
        }
        text = '';
        waiting = true;
        socket.write(head);
      };
      const lost = (why: string): void => {
        if (waiting) this.result.failures.push(why);
        waiting = false;
        socket.destroy();
        done();
      };
      socket.on('connect', next);
      socket.on('error', (error) => {
        if (!waiting) this.result.failures.push(`connect: ${error.message}`);
        lost(error.message);
      });
      socket.on('close', () => lost('closed without an answer'));
      socket.on('data', (bytes) => {
        text += bytes.toString('latin1');
        const end = text.indexOf('\r\n\r\n');
        if (end === -1) return;
        const length = Number(/content-length: (\d+)/i.exec(text)?.[1] ?? Number.NaN);
        if (text.length < end + 4 + length) return;
        waiting = false;
        if (text.startsWith('HTTP/1.1 200')) this.result.ok++;
        else this.result.failures.push(text.slice(0, text.indexOf('\r\n')));
        if (/\r\nconnection: close\r\n/i.test(text)) {
          socket.end();
          done();
        } else setTimeout(next, 1);
      });
    });
  }
}

/** Processes whose parent is `pid` (Linux). */
export async function childrenOf(pid: number): Promise<number[]> {
  const { readFile } = await import('node:fs/promises');
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8');
  return text.trim().split(' ').filter(Boolean).map(Number);
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
