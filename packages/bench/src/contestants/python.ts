/** The Python peers: what could take part on this machine, and how their programs are started. */
import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { LaunchCommand, LaunchOptions } from '../api/launch.ts';
import { launchEnvironment } from '../api/launch.ts';
import { CliError } from '../cli-error.ts';
import type { ContestantInfo, UpstreamProtocol } from './types.ts';

const execute = promisify(execFile);

export interface PythonPeer extends ContestantInfo {
  /** Version of the installed package. */
  readonly version: string;
}

export interface PythonPeers {
  /** Version of the interpreter; null when there are no peers. */
  readonly pythonVersion: string | null;
  readonly peers: readonly PythonPeer[];
  /** Names of the peers that cannot take part. */
  readonly leftOut: readonly string[];
  /** Why none can take part, as one sentence; null when they can. */
  readonly reason: string | null;
}

const folder = resolve(dirname(fileURLToPath(import.meta.url)), '../../../../lab/peers/python');
const allNames = ['httpx', 'httpx-http2', 'aiohttp', 'httpx-aiohttp'];

function interpreter(): string {
  const venv = process.env['ONEHOP_PYTHON_VENV'] || join(folder, '.venv');
  return join(venv, process.platform === 'win32' ? 'Scripts/python.exe' : 'bin/python');
}

interface Described {
  python: string;
  contestants: {
    name: string;
    package: string;
    version: string;
    protocol: UpstreamProtocol;
    note: string;
  }[];
}

const none = (reason: string): PythonPeers => ({
  pythonVersion: null,
  peers: [],
  leftOut: allNames,
  reason,
});

/** Asks the virtual environment what it holds. Never throws: what is missing is in `reason`. */
export async function pythonPeers(): Promise<PythonPeers> {
  const python = interpreter();
  if (!existsSync(join(folder, 'server.py'))) {
    return none('the Python peers are part of the repository, not of the package');
  }
  if (!existsSync(python)) {
    return none('the virtual environment is missing (`npm run setup:python` makes it)');
  }
  try {
    const { stdout } = await execute(python, [join(folder, 'server.py'), '--contestants'], {
      timeout: 30_000,
    });
    const described = JSON.parse(stdout) as Described;
    const peers = described.contestants.map(
      (each): PythonPeer => ({
        ...each,
        runtimes: ['python'],
        modes: ['shared', 'per-request'],
      }),
    );
    return { pythonVersion: described.python, peers, leftOut: [], reason: null };
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    const line = text.trim().split('\n').at(-1);
    return none(
      `the virtual environment does not work (${line}); \`npm run setup:python\` remakes it`,
    );
  }
}

/**
 * Command line and environment of the Python API server (`api`) or of the HTTP/2 upstream under
 * hypercorn (`h2-upstream`, which answers HTTP/1.1 on the same port, too).
 * Throws CliError without a virtual environment.
 */
export function pythonLaunchCommand(
  options: Omit<LaunchOptions, 'runtime' | 'program'> & { program: 'api' | 'h2-upstream' },
): LaunchCommand {
  const python = interpreter();
  if (!existsSync(python)) {
    throw new CliError(`${python} is missing: run \`npm run setup:python\``);
  }
  const file = join(folder, options.program === 'api' ? 'server.py' : 'upstream.py');
  return { command: python, args: [file], env: launchEnvironment(options) };
}

/** The adapters' source for the report: one file holds all Python contestants. */
export function pythonSource(): string | null {
  const file = join(folder, 'contestants.py');
  return existsSync(file) ? readFileSync(file, 'utf8') : null;
}
