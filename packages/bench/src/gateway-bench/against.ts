/**
 * Another revision of this repository, checked out and built beside it, so that its gateway can take
 * part in the same rounds. The forwarder that it runs loads that revision's packages and nothing of
 * ours but third-party modules that both lock files name alike; that is looked at before it is used.
 */
import { spawn, spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CliError, ExitCode } from '../cli-error.ts';

export interface OtherRevision {
  /** As it was asked for. */
  revision: string;
  commit: string;
  subject: string;
  /** Its tree. */
  folder: string;
  /** What its forwarder is started with: today's script, so that both have the same configuration. */
  script: string;
  /** Takes the tree away again; may be called more than once, and is on any exit of the process. */
  remove(): void;
}

export interface CheckOutOptions {
  signal: AbortSignal;
  /** Folder for temporary files, outside of any repository. */
  under: string;
  /** Runtimes that the forwarder is to run on: each is tried once. */
  runtimes: readonly string[];
  onStep(text: string): void;
}

interface Finished {
  code: number | null;
  stdout: string;
  stderr: string;
}

const scriptFolder = join('lab', 'peers', 'js');
/** Starting takes a second at most; a machine that builds beside may need more. */
const trialMs = 30_000;

/** Without what git or npm tell the programs they start about the tree those were started in. */
function cleanEnvironment(): NodeJS.ProcessEnv {
  const foreign = /^(GIT_(DIR|WORK_TREE|INDEX_FILE|PREFIX|COMMON_DIR)$|npm_(package|lifecycle)_)/;
  const env: NodeJS.ProcessEnv = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (!foreign.test(name) && name !== 'npm_config_local_prefix' && name !== 'INIT_CWD') {
      env[name] = value;
    }
  }
  return env;
}

/** Runs a program to its end. @throws CliError when it cannot be started, or on the signal */
function runToEnd(
  command: readonly string[],
  folder: string,
  signal: AbortSignal,
  env: Record<string, string> = {},
  timeoutMs = 0,
): Promise<Finished> {
  const [file, ...words] = command;
  const child = spawn(file!, words, {
    cwd: folder,
    env: { ...cleanEnvironment(), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    // A group of its own: a compiler that outlives its script would write into the removed folder.
    detached: true,
  });
  const end = (): void => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGTERM');
    } catch {
      // All of them are gone.
    }
  };
  const late = timeoutMs === 0 ? undefined : setTimeout(end, timeoutMs);
  process.once('exit', end);
  signal.addEventListener('abort', end, { once: true });
  if (signal.aborted) end();
  const found: Finished = { code: null, stdout: '', stderr: '' };
  child.stdout.on('data', (text: Buffer) => {
    found.stdout += text;
  });
  child.stderr.on('data', (text: Buffer) => {
    found.stderr += text;
  });
  return new Promise<Finished>((resolve, reject) => {
    const done = (): void => {
      clearTimeout(late);
      process.off('exit', end);
      signal.removeEventListener('abort', end);
    };
    child.once('error', (error) => {
      done();
      reject(new CliError(`cannot run ${file}: ${error.message}`));
    });
    child.once('close', (code) => {
      done();
      if (signal.aborted) reject(new CliError('interrupted', ExitCode.Interrupted));
      else resolve({ ...found, code });
    });
  });
}

/** What a failed program said, without its middle: enough to see why, not pages. */
function wordsOf({ stdout, stderr }: Finished): string {
  const lines = (stderr.trim() || stdout.trim()).split('\n');
  const [first, last] = [lines.slice(0, 8), lines.slice(-8)];
  return (lines.length <= 16 ? lines : [...first, '...', ...last]).join('\n');
}

async function git(folder: string, words: readonly string[], signal: AbortSignal) {
  // A hook of this repository has no business in a tree that is thrown away.
  return runToEnd(['git', '-c', 'core.hooksPath=/dev/null', ...words], folder, signal);
}

/** The commit and the first line of its message. */
async function resolveRevision(
  root: string,
  revision: string,
  signal: AbortSignal,
): Promise<{ commit: string; subject: string }> {
  const inside = await git(root, ['rev-parse', '--git-dir'], signal);
  if (inside.code !== 0) {
    throw new CliError(`--against needs a git repository, which ${root} is not part of`);
  }
  const words = ['rev-parse', '--verify', '--quiet', '--end-of-options', `${revision}^{commit}`];
  const found = await git(root, words, signal);
  if (found.code !== 0) {
    throw new CliError(`--against ${revision}: there is no such revision in this repository`);
  }
  const commit = found.stdout.trim();
  const { stdout } = await git(root, ['log', '-1', '--format=%s', commit], signal);
  return { commit, subject: stdout.trim() };
}

interface LockFile {
  packages?: Record<string, { link?: boolean; resolved?: string }>;
}

const lockOf = (folder: string): string | null => {
  const path = join(folder, 'package-lock.json');
  return existsSync(path) ? readFileSync(path, 'utf8') : null;
};

/** Packages of the workspace itself: name to folder. */
function workspacesOf(lock: string): Map<string, string> {
  const { packages = {} } = JSON.parse(lock) as LockFile;
  const found = new Map<string, string>();
  for (const [path, { link, resolved }] of Object.entries(packages)) {
    if (link === true && resolved !== undefined) {
      found.set(path.replace(/^node_modules\//, ''), resolved);
    }
  }
  return found;
}

/**
 * Gives `folder` the third-party modules of `root` by links, and packages of the workspace by links to
 * its own: one link to the whole of `node_modules` would make it run ours.
 */
export function linkModules(root: string, folder: string, lock: string): void {
  const workspaces = workspacesOf(lock);
  const [from, to] = [join(root, 'node_modules'), join(folder, 'node_modules')];
  const scopes = new Set(
    [...workspaces.keys()].filter((name) => name.includes('/')).map((name) => name.split('/')[0]!),
  );
  const link = (name: string): void => {
    if (!workspaces.has(name)) symlinkSync(join(from, name), join(to, name));
  };
  mkdirSync(to);
  for (const name of readdirSync(from)) {
    if (name === '.cache') continue;
    if (!scopes.has(name)) link(name);
    else
      for (const inner of readdirSync(join(from, name))) {
        mkdirSync(join(to, name), { recursive: true });
        link(`${name}/${inner}`);
      }
  }
  for (const [name, path] of workspaces) {
    mkdirSync(dirname(join(to, name)), { recursive: true });
    symlinkSync(join(folder, path), join(to, name));
    const own = join(path, 'node_modules');
    if (existsSync(join(root, own))) symlinkSync(join(root, own), join(folder, own));
  }
}

async function provideModules(
  root: string,
  folder: string,
  revision: string,
  { signal, onStep }: CheckOutOptions,
): Promise<void> {
  const lock = lockOf(folder);
  if (lock === null) {
    throw new CliError(`--against ${revision}: it has no package-lock.json to install from`);
  }
  if (lock === lockOf(root) && existsSync(join(root, 'node_modules'))) {
    linkModules(root, folder, lock);
    return;
  }
  onStep(`installing what ${revision} needs: its lock file is another`);
  const npm = process.env['npm_execpath'];
  const node = process.versions['bun'] === undefined ? process.execPath : 'node';
  const command = npm?.endsWith('.js') ? [node, npm] : ['npm'];
  const words = ['ci', '--ignore-scripts', '--include=dev', '--prefer-offline'];
  const quiet = ['--no-audit', '--no-fund'];
  const done = await runToEnd([...command, ...words, ...quiet], folder, signal);
  if (done.code !== 0) {
    throw new CliError(`--against ${revision}: npm ci failed there\n${wordsOf(done)}`);
  }
}

async function build(folder: string, revision: string, signal: AbortSignal): Promise<void> {
  const script = join(folder, 'scripts', 'build.mjs');
  if (!existsSync(script)) {
    throw new CliError(`--against ${revision}: it has no scripts/build.mjs to build it with`);
  }
  const node = process.versions['bun'] === undefined ? process.execPath : 'node';
  const done = await runToEnd([node, script], folder, signal);
  if (done.code !== 0) {
    throw new CliError(`--against ${revision}: it does not build\n${wordsOf(done)}`);
  }
}

/** @throws CliError unless what the forwarder imports lies in `folder`, by name and by links. */
async function proveModules(
  folder: string,
  revision: string,
  runtime: string,
  signal: AbortSignal,
): Promise<void> {
  const path = join(folder, scriptFolder, 'resolve.mjs');
  writeFileSync(path, "console.log(import.meta.resolve('onehop/gateway'));\n");
  const done = await runToEnd([runtime, path], folder, signal);
  const url = done.stdout.trim();
  if (done.code !== 0 || !url.startsWith('file:') || !existsSync(fileURLToPath(url))) {
    throw new CliError(
      `--against ${revision}: no gateway is to be had from it on ${runtime}\n${wordsOf(done)}`,
    );
  }
  const found = realpathSync(fileURLToPath(url));
  if (!found.startsWith(realpathSync(folder) + sep)) {
    throw new CliError(`--against ${revision}: its forwarder would load ${found}, not its own`);
  }
}

/** @throws CliError when the forwarder does not start with the configuration of today. */
async function tryScript(
  script: string,
  revision: string,
  runtime: string,
  signal: AbortSignal,
): Promise<void> {
  // Its input is at its end from the beginning, so it ends by itself once it has begun.
  const env = { UPSTREAMS: 'http://127.0.0.1:1' };
  const done = await runToEnd([runtime, script], dirname(script), signal, env, trialMs);
  if (done.code === 0 && /^\d+\s*$/.test(done.stdout)) return;
  throw new CliError(
    `--against ${revision}: its gateway does not start on ${runtime} with the configuration in ` +
      `${scriptFolder}/onehop.mjs that both sides are to have\n${wordsOf(done)}`,
  );
}

/**
 * Checks `revision` out into a folder of its own, builds it there and makes sure that what runs there
 * is that revision. The folder goes with `remove`, at the latest when this process exits.
 * @throws CliError when there is no such revision, when it cannot be built or started, or on the signal
 */
export async function checkOut(
  root: string,
  revision: string,
  options: CheckOutOptions,
): Promise<OtherRevision> {
  const { signal, onStep, runtimes } = options;
  const { commit, subject } = await resolveRevision(root, revision, signal);
  const parent = mkdtempSync(join(options.under, 'onehop-against-'));
  const folder = join(parent, 'tree');
  const remove = (): void => {
    process.off('exit', remove);
    if (!existsSync(parent)) return;
    // Twice: also when git holds it for locked, as it does while it is still being made.
    spawnSync('git', ['worktree', 'remove', '--force', '--force', folder], {
      cwd: root,
      env: cleanEnvironment(),
      stdio: 'ignore',
    });
    rmSync(parent, { recursive: true, force: true, maxRetries: 3 });
  };
  process.once('exit', remove);
  try {
    onStep(`checking out ${commit.slice(0, 7)}`);
    const added = await git(root, ['worktree', 'add', '--detach', folder, commit], signal);
    if (added.code !== 0) {
      throw new CliError(`--against ${revision}: git worktree add failed\n${wordsOf(added)}`);
    }
    await provideModules(root, folder, revision, options);
    onStep(`building ${commit.slice(0, 7)}`);
    await build(folder, revision, signal);
    const script = join(folder, scriptFolder, 'onehop-of-today.mjs');
    mkdirSync(dirname(script), { recursive: true });
    copyFileSync(join(root, scriptFolder, 'onehop.mjs'), script);
    for (const runtime of runtimes) {
      await proveModules(folder, revision, runtime, signal);
      await tryScript(script, revision, runtime, signal);
    }
    return { revision, commit, subject, folder, script, remove };
  } catch (error) {
    remove();
    throw error;
  }
}
