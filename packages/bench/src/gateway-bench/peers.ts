/** The forwarders that are compared: how each is found, started and stopped. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { findBun } from 'onehop/cli/find-bun';
import { CliError } from '../cli-error.ts';
import { executableVersion } from '../study/rig.ts';

/** What differs between scenarios on the forwarder's side. */
export interface ForwarderMode {
  /** nginx keeps whole requests and responses; off for streams and big bodies. */
  buffering: boolean;
  /** Ours: requests under way per upstream connection. */
  pipelining: number;
  /** Ours: upstream connections per target. */
  connections: number;
}

export interface Running {
  origin: string;
  pid: number;
  /** How it ended by itself; null while it runs. */
  ended(): string | null;
  stop(): Promise<void>;
}

export interface Forwarder {
  id: string;
  name: string;
  role: 'ours' | 'reference' | 'peer';
  /** Ours of another revision: id of the one of this tree that it is compared with. */
  counterpart: string | null;
  /** Why it cannot run here; null when it can. */
  missing: string | null;
  start(upstreams: readonly string[], mode: ForwarderMode): Promise<Running>;
}

const lab = fileURLToPath(new URL('../../../../lab/peers/', import.meta.url));
const ourScript = join(lab, 'js', 'onehop.mjs');

/** Id of the forwarder of the other revision that is compared with `id`. */
export const counterpartOf = (id: string): string => `${id}@old`;

/** Tells how a child ended; null while it runs. */
export const endOf = (child: ChildProcess) => (): string | null => {
  if (child.signalCode !== null) return `ended with ${child.signalCode}`;
  return child.exitCode === null ? null : `ended with code ${child.exitCode}`;
};

/** Ends the child when this process ends, however it does. */
function guard(child: ChildProcess): () => Promise<void> {
  const end = (): void => void child.kill('SIGKILL');
  process.once('exit', end);
  const gone = new Promise<void>((resolve) => child.once('close', () => resolve()));
  return async () => {
    end();
    await gone;
    process.off('exit', end);
  };
}

export interface Started {
  child: ChildProcess;
  /** Its first line. */
  line: string;
  stop(): Promise<void>;
}

/** Starts a program that prints one line when it is ready and ends with its standard input. */
export async function startProgram(
  command: readonly string[],
  env: Record<string, string> = {},
): Promise<Started> {
  const [file, ...words] = command;
  const child = spawn(file!, words, {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, NODE_ENV: 'production', ...env },
  });
  const stop = guard(child);
  const line = await new Promise<string>((resolve, reject) => {
    const late = setTimeout(() => {
      reject(new CliError(`${command.join(' ')} did not start within 15 s`));
    }, 15_000);
    late.unref();
    child.once('error', reject);
    child.once('close', (code) =>
      reject(new CliError(`${command.join(' ')} ended with code ${code} before it was ready`)),
    );
    child.stdout.once('data', (text: Buffer) => {
      clearTimeout(late);
      resolve(text.toString('utf8').trim());
    });
  }).catch(async (error) => {
    await stop();
    throw error;
  });
  child.stdout.resume();
  return { child, line, stop };
}

export async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve));
  const { port } = probe.address() as { port: number };
  await new Promise<void>((resolve) => probe.close(() => resolve()));
  return port;
}

function scripted(
  id: string,
  name: string,
  role: Forwarder['role'],
  runtime: string | null,
  path: string,
): Forwarder {
  return {
    id,
    name,
    role,
    counterpart: null,
    missing: runtime === null ? 'its runtime was not found' : null,
    async start(upstreams, mode) {
      const { child, line, stop } = await startProgram([runtime!, path], {
        UPSTREAMS: upstreams.join(','),
        PIPELINING: String(mode.pipelining),
        CONNECTIONS: String(mode.connections),
      });
      return { origin: `http://127.0.0.1:${line}`, pid: child.pid!, ended: endOf(child), stop };
    },
  };
}

async function answers(origin: string, child: ChildProcess): Promise<void> {
  for (let attempt = 0; attempt < 100; attempt++) {
    try {
      const response = await fetch(origin, { headers: { connection: 'close' } });
      await response.arrayBuffer();
      return;
    } catch {
      if (child.exitCode !== null) break;
      await sleep(50);
    }
  }
  throw new CliError(`${child.spawnfile} did not start`);
}

/** A server that reads a configuration file made from a template in lab/peers. */
function configured(
  id: 'nginx' | 'haproxy',
  version: string | null,
  template: string,
  words: (folder: string, path: string) => string[],
  server: (host: string, index: number) => string,
): Forwarder {
  return {
    id,
    name: version === null ? id : `${id} ${version}`,
    role: 'reference',
    counterpart: null,
    missing: version === null ? `${id} was not found on PATH` : null,
    async start(upstreams, mode) {
      const folder = mkdtempSync(join(tmpdir(), 'onehop-gateway-'));
      const port = await freePort();
      const values: Record<string, string> = {
        FOLDER: folder,
        PORT: String(port),
        BUFFERING: mode.buffering ? 'on' : 'off',
        SERVERS: upstreams.map((url, index) => server(new URL(url).host, index)).join('\n    '),
      };
      const path = join(folder, 'config');
      const text = readFileSync(join(lab, template), 'utf8');
      writeFileSync(
        path,
        text.replace(/@([A-Z]+)@/g, (whole, word: string) => values[word] ?? whole),
      );
      const child = spawn(id, words(folder, path), { stdio: 'ignore' });
      const end = guard(child);
      const stop = async (): Promise<void> => {
        await end();
        rmSync(folder, { recursive: true, force: true });
      };
      const origin = `http://127.0.0.1:${port}`;
      try {
        await answers(origin, child);
      } catch (error) {
        await stop();
        throw error;
      }
      return { origin, pid: child.pid!, ended: endOf(child), stop };
    },
  };
}

function versionFrom(command: string, pattern: RegExp): string | null {
  const probe = spawnSync(command, ['-v'], { encoding: 'utf8' });
  if (probe.error !== undefined) return null;
  return pattern.exec(probe.stdout + probe.stderr)?.[1] ?? 'unknown';
}

function versionOfPackage(name: string): string {
  const require = createRequire(import.meta.url);
  for (const folder of require.resolve.paths(name) ?? []) {
    const path = join(folder, name, 'package.json');
    if (existsSync(path))
      return (JSON.parse(readFileSync(path, 'utf8')) as { version: string }).version;
  }
  return 'not installed';
}

function portkey(): Forwarder {
  const script = join(lab, 'portkey/node_modules/@portkey-ai/gateway/build/start-server.js');
  const installed = existsSync(script);
  return {
    id: 'portkey',
    name: 'Portkey gateway 1.15.2',
    role: 'peer',
    counterpart: null,
    missing: installed ? null : 'not installed; `npm run setup:portkey` does it',
    async start() {
      const port = await freePort();
      const child = spawn(process.execPath, [script, `--port=${port}`, '--headless'], {
        stdio: 'ignore',
        // It refuses private addresses as custom hosts unless they are named.
        env: {
          ...process.env,
          NODE_ENV: 'production',
          TRUSTED_CUSTOM_HOSTS: '127.0.0.1,localhost',
        },
      });
      const stop = guard(child);
      const origin = `http://127.0.0.1:${port}`;
      try {
        await answers(origin, child);
      } catch (error) {
        await stop();
        throw error;
      }
      return { origin, pid: child.pid!, ended: endOf(child), stop };
    },
  };
}

/** Another revision of ours, built: what its forwarder is started with, and its commit. */
export interface OtherBuild {
  script: string;
  commit: string;
}

/** Our gateway on `runtime` and, right behind it, that of the other revision on the same binary. */
function ours(
  id: string,
  runtimeName: string,
  runtime: string | null,
  other: OtherBuild | null,
): Forwarder[] {
  const own = scripted(id, `onehop, ${runtimeName}`, 'ours', runtime, ourScript);
  if (other === null) return [own];
  const name = `onehop ${other.commit.slice(0, 7)}, ${runtimeName}`;
  const old = scripted(counterpartOf(id), name, 'ours', runtime, other.script);
  return [own, { ...old, counterpart: id }];
}

/** Binaries that our gateway is run on. */
export function ourRuntimes(nodes: readonly string[]): string[] {
  const node = process.versions['bun'] === undefined ? process.execPath : 'node';
  return [findBun(), node, ...nodes].filter((path) => path !== null);
}

/**
 * Everything that could take part, in the order of tables.
 * @param nodes more Node binaries for ours
 * @param other another revision of ours to take part: then beside nginx only ours do
 */
export function forwarders(nodes: readonly string[], other: OtherBuild | null = null): Forwarder[] {
  const bun = findBun();
  const node = process.versions['bun'] === undefined ? process.execPath : 'node';
  const [bunVersion, nodeVersion] = [executableVersion(bun), executableVersion(node)];
  const js = (script: string): string => join(lab, 'js', script);
  const all = [
    configured(
      'nginx',
      versionFrom('nginx', /nginx\/(\S+)/),
      'nginx/nginx.conf',
      (folder, path) => ['-p', folder, '-c', path, '-e', join(folder, 'error.log')],
      (host) => `server ${host} max_fails=0;`,
    ),
    ...ours('onehop-bun', `Bun ${bunVersion}`, bun, other),
    ...ours('onehop-node', `Node ${nodeVersion}`, node, other),
    ...nodes.flatMap((path) => {
      const version = executableVersion(path);
      if (version === null) throw new CliError(`${path} is no Node that can be run`);
      return ours(`onehop-node-${version}`, `Node ${version}`, path, other);
    }),
    configured(
      'haproxy',
      versionFrom('haproxy', /version (\d[\w.]*)/),
      'haproxy/haproxy.cfg',
      (_folder, path) => ['-db', '-q', '-f', path],
      (host, index) => `server s${index} ${host}`,
    ),
    scripted('bun-fetch', `Bun.serve and fetch ${bunVersion}`, 'peer', bun, js('bun-fetch.mjs')),
    scripted(
      'reply-from',
      `@fastify/reply-from ${versionOfPackage('@fastify/reply-from')}`,
      'peer',
      node,
      js('fastify-reply-from.mjs'),
    ),
    scripted('httpxy', `httpxy ${versionOfPackage('httpxy')}`, 'peer', node, js('httpxy.mjs')),
    portkey(),
  ];
  return other === null ? all : all.filter(({ id, role }) => role === 'ours' || id === 'nginx');
}
