/** The Python peers of the study, when a Python with their packages can be had. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { LaunchCommand } from '../api/index.ts';
import { pythonLaunchCommand, pythonPeers, pythonSource } from '../contestants/index.ts';
import type { Entry } from '../results/types.ts';
import type { Children } from './children.ts';
import type { CatalogueItem } from './entries.ts';
import type { StudyOptions } from './options.ts';
import type { Progress } from './progress.ts';

/** Making the environment must not eat up the time for measuring. */
const SETUP_MS_MAX = 60_000;

export interface PythonSetup {
  items: CatalogueItem[];
  knownNames: string[];
  version: string | null;
  leftOut: string[];
}

const absent = (knownNames: readonly string[], leftOut: string[]): PythonSetup => ({
  items: [],
  knownNames: [...knownNames],
  version: null,
  leftOut,
});

/** Whether the choice of clients can contain a Python peer at all. */
function isAskedFor(options: StudyOptions, names: readonly string[]): boolean {
  const { clients } = options;
  if (clients === null) return true;
  return clients.some((wanted) => wanted === 'all' || names.includes(wanted.split('@')[0]!));
}

/** Finds the peers, making their environment when it is missing; says in `leftOut` what cannot be had. */
export async function findPython(
  options: StudyOptions,
  children: Children,
  progress: Progress,
): Promise<PythonSetup> {
  let found = await pythonPeers();
  const names = [...found.peers.map(({ name }) => name), ...found.leftOut];
  if (options.python === 'off') return absent(names, [`${names.join(', ')}: --python off`]);
  if (!isAskedFor(options, names)) return absent(names, []);
  // Whoever names an environment of their own looks after it.
  if (found.reason !== null && process.env['ONEHOP_PYTHON_VENV'] === undefined) {
    const failure = await makeEnvironment(children, progress);
    found = await pythonPeers();
    if (failure !== null) found = { ...found, reason: failure };
  }
  if (found.reason !== null) return absent(names, [`${names.join(', ')}: ${found.reason}`]);
  const source = pythonSource();
  return {
    items: found.peers.map((peer) => ({
      name: peer.name,
      runtime: 'python',
      package: peer.package,
      modes: peer.modes,
      protocol: peer.protocol,
      note: peer.protocol === 'h2c' ? `${peer.note}; upstream: hypercorn` : peer.note,
      version: peer.version,
      ...(source === null ? {} : { source }),
    })),
    knownNames: names,
    version: found.pythonVersion,
    leftOut: found.leftOut.map((name) => `${name}: not in the virtual environment`),
  };
}

/** Runs the project's script. @returns why it failed, null when it did not */
async function makeEnvironment(children: Children, progress: Progress): Promise<string | null> {
  const root = fileURLToPath(new URL('../../../../', import.meta.url));
  const script = join(root, 'scripts', 'setup-python.mjs');
  if (!existsSync(script)) return null;
  progress.note('making the virtual environment of the Python peers (once, up to a minute)');
  const child = spawn(process.versions['bun'] === undefined ? process.execPath : 'node', [script], {
    cwd: root,
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  children.adopt(child);
  let said = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  return new Promise((resolve) => {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    }, SETUP_MS_MAX);
    child.once('error', (error) => {
      clearTimeout(timer);
      resolve(error.message);
    });
    child.once('close', (code) => {
      clearTimeout(timer);
      if (late) resolve('making the virtual environment took more than a minute');
      else resolve(code === 0 ? null : lastLine(said));
    });
  });
}

function lastLine(text: string): string {
  const line = text.trim().split('\n').at(-1) ?? '';
  return line.replace(/^setup-python: the Python peers are left out: /, '');
}

/** Command line of the Python API server with one contestant. */
export function pythonCommand(
  entry: Entry,
  base: { requestUrl: string; connectionsMax: number },
): LaunchCommand {
  return pythonLaunchCommand({
    ...base,
    program: 'api',
    reuse: entry.reuse,
    clients: [entry.contestant],
  });
}
