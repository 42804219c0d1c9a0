/** Upstreams that the calibration loads, each a process of its own. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { CliError } from '../cli-error.ts';
import { runtimeCommand } from './spawn.ts';

export interface CalibrationUpstream {
  name: string;
  url: string;
  child: ChildProcess;
  stop(): Promise<void>;
}

function guard(child: ChildProcess): () => Promise<void> {
  const end = (): void => void child.kill('SIGKILL');
  process.once('exit', end);
  const gone = new Promise<void>((resolve) => child.once('close', () => resolve()));
  return async () => {
    child.kill('SIGCONT');
    child.kill('SIGTERM');
    const late = setTimeout(end, 2_000);
    await gone;
    clearTimeout(late);
    process.off('exit', end);
  };
}

/** What an upstream waits before it answers; see paced-upstream.ts. */
export type Pace = 0 | 5 | 'spread';

const paceText: Record<Pace, string> = {
  0: '',
  5: ', 5 ms by timer',
  spread: ', log-normal delays of 5 ms in the median',
};

/** Our own server on the raw transport. */
export async function startPaced(
  pace: Pace,
  launcher: readonly string[] = [],
): Promise<CalibrationUpstream> {
  // On Node: one core is all it has, and there Bun's collector and compilers get in its way more.
  const script = fileURLToPath(new URL('./paced-upstream.js', import.meta.url));
  const [file, ...words] = [...launcher, runtimeCommand('node'), script, String(pace)];
  const child = spawn(file!, words, { stdio: ['pipe', 'pipe', 'inherit'] });
  const stop = guard(child);
  const port = await new Promise<string>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', () =>
      reject(new CliError('the upstream of the calibration did not start')),
    );
    child.stdout.once('data', (line: Buffer) => resolve(line.toString('utf8').trim()));
  });
  const name = `raw server on Node${paceText[pace]}`;
  return { name, url: `http://127.0.0.1:${port}/`, child, stop };
}

async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve));
  const { port } = probe.address() as { port: number };
  await new Promise<void>((resolve) => probe.close(() => resolve()));
  return port;
}

export interface StaticOptions {
  /** HTTP/2 with prior knowledge instead of HTTP/1.1. */
  http2?: boolean;
  /** nginx closes a connection after so many. Default: practically never. */
  requestsPerConnection?: number;
}

function nginxConfig(folder: string, port: number, options: StaticOptions): string {
  return `daemon off; master_process off; worker_processes 1;
pid ${folder}/nginx.pid; error_log ${folder}/error.log;
events { worker_connections 8192; multi_accept on; }
http {
  access_log off; keepalive_requests ${options.requestsPerConnection ?? 1_000_000_000};
  client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/proxy;
  fastcgi_temp_path ${folder}/fastcgi; uwsgi_temp_path ${folder}/uwsgi;
  scgi_temp_path ${folder}/scgi;
  server {
    listen 127.0.0.1:${port}${options.http2 === true ? ' http2' : ''} backlog=4096;
    location / {
      default_type application/json;
      return 200 '{"message":"8c1b2b3e-6a5c-4a3e-9a0e-1234567890ab"}';
    }
  }
}
`;
}

/** Resolves when somebody listens. */
function connectOnce(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve();
    });
    socket.on('error', reject);
  });
}

/** nginx with one worker when it is installed, else our own server. */
export async function startStatic(
  launcher: readonly string[] = [],
  options: StaticOptions = {},
): Promise<CalibrationUpstream> {
  const probe = spawnSync('nginx', ['-v'], { encoding: 'utf8' });
  if (probe.error !== undefined) {
    if (options.http2 === true) throw new CliError('nginx is not on PATH');
    return startPaced(0, launcher);
  }
  const folder = mkdtempSync(join(tmpdir(), 'onehop-calibrate-'));
  const port = await freePort();
  const config = join(folder, 'nginx.conf');
  writeFileSync(config, nginxConfig(folder, port, options));
  const [file, ...words] = [...launcher, 'nginx', '-p', folder, '-c', config];
  const child = spawn(file!, words, { stdio: 'ignore' });
  const stop = guard(child);
  const url = `http://127.0.0.1:${port}/`;
  for (let attempt = 0; ; attempt++) {
    try {
      await connectOnce(port);
      break;
    } catch {
      if (attempt >= 50 || child.exitCode !== null) {
        await stop();
        rmSync(folder, { recursive: true, force: true });
        throw new CliError('nginx did not start');
      }
      await sleep(100);
    }
  }
  const version = /nginx\/(\S+)/.exec(probe.stderr)?.[1] ?? '';
  return {
    name: `nginx ${version}, one worker`,
    url,
    child,
    async stop() {
      await stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
