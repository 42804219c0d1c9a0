import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { CliError, ExitCode } from '../cli-error.ts';
import { type CheckOutOptions, checkOut } from './against.ts';

const skip = spawnSync('git', ['--version']).error === undefined ? false : 'git is not installed';

const lock = JSON.stringify({
  name: 'rig',
  lockfileVersion: 3,
  requires: true,
  packages: {
    '': { name: 'rig', workspaces: ['packages/onehop'] },
    'node_modules/onehop': { resolved: 'packages/onehop', link: true },
    'packages/onehop': { version: '1.0.0' },
  },
});

/** A gateway whose port tells which one it is, built from src to dist as ours is. */
const gateway = (port: number) => `export const port = ${port};\n`;
const build =
  "import { cpSync } from 'node:fs';\ncpSync('packages/onehop/src', 'packages/onehop/dist', { recursive: true });\n";
const script = (print: string) =>
  `import { port } from 'onehop/gateway';\nconsole.log(${print});\n` +
  "process.stdin.on('end', () => process.exit(0)).resume();\n";

class Repository implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'onehop-against-test-'));
  readonly root = join(this.folder, 'root');
  readonly under = join(this.folder, 'tmp');
  readonly steps: string[] = [];

  constructor() {
    mkdirSync(this.under);
    this.write(
      'package.json',
      '{ "name": "rig", "type": "module", "workspaces": ["packages/onehop"] }',
    );
    this.write('package-lock.json', lock);
    this.write('.gitignore', 'node_modules\ndist\n');
    this.write('scripts/build.mjs', build);
    this.write('lab/peers/js/onehop.mjs', script('port'));
    const exports = '{ "./gateway": "./dist/gateway.js" }';
    this.write(
      'packages/onehop/package.json',
      `{ "name": "onehop", "version": "1.0.0", "type": "module", "exports": ${exports} }`,
    );
    this.write('packages/onehop/src/gateway.js', gateway(1));
    mkdirSync(join(this.root, 'node_modules/third-party'), { recursive: true });
    symlinkSync(join(this.root, 'packages/onehop'), join(this.root, 'node_modules/onehop'));
    this.git('init', '--quiet');
    this.commit('old');
    this.write('packages/onehop/src/gateway.js', gateway(2));
    cpSync(join(this.root, 'packages/onehop/src'), join(this.root, 'packages/onehop/dist'), {
      recursive: true,
    });
  }

  write(path: string, text: string): void {
    mkdirSync(dirname(join(this.root, path)), { recursive: true });
    writeFileSync(join(this.root, path), text);
  }

  git(...words: string[]): string {
    const who = ['-c', 'user.name=t', '-c', 'user.email=t@localhost'];
    const { status, stdout, stderr } = spawnSync('git', [...who, ...words], {
      cwd: this.root,
      encoding: 'utf8',
    });
    assert.equal(status, 0, stderr);
    return stdout;
  }

  commit(tag: string): void {
    this.git('add', '--all');
    this.git('commit', '--quiet', '--no-verify', '--message', `Be ${tag}`);
    this.git('tag', tag);
  }

  checkOut(revision: string, over: Partial<CheckOutOptions> = {}) {
    return checkOut(this.root, revision, {
      signal: new AbortController().signal,
      under: this.under,
      runtimes: [process.execPath],
      onStep: (text) => this.steps.push(text),
      ...over,
    });
  }

  /** Neither a folder nor git's note of one is left. */
  assertClean(): void {
    assert.deepEqual(readdirSync(this.under), []);
    assert.equal(this.git('worktree', 'list').trim().split('\n').length, 1);
  }

  async refuses(revision: string, what: RegExp, over: Partial<CheckOutOptions> = {}) {
    await assert.rejects(this.checkOut(revision, over), (error: Error) => {
      assert.ok(error instanceof CliError, error.stack);
      assert.match(error.message, what);
      return true;
    });
    this.assertClean();
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function output(path: string): string {
  const found = spawnSync(process.execPath, [path], { encoding: 'utf8', input: '' });
  assert.equal(found.status, 0, found.stderr);
  return found.stdout.trim();
}

test('the other revision runs its own code with the configuration of today', { skip }, async () => {
  using rig = new Repository();
  rig.write('lab/peers/js/onehop.mjs', script('port * 10'));
  const other = await rig.checkOut('old');
  assert.equal(output(join(rig.root, 'lab/peers/js/onehop.mjs')), '20');
  assert.equal(output(other.script), '10');
  assert.equal(other.commit, rig.git('rev-parse', 'old').trim());
  assert.equal(other.subject, 'Be old');
  // The rest of node_modules is ours.
  assert.ok(existsSync(join(other.folder, 'node_modules/third-party')));
  other.remove();
  other.remove();
  rig.assertClean();
  assert.ok(existsSync(join(rig.root, 'node_modules/third-party')));
  assert.equal(output(join(rig.root, 'lab/peers/js/onehop.mjs')), '20');
});

test('a tree whose forwarder would load our code is refused', { skip }, async () => {
  using rig = new Repository();
  // A lock file that does not say that `onehop` is of the workspace: its link leads to our tree.
  rig.write('package-lock.json', lock.replace('"link":true', '"link":false'));
  rig.commit('unlinked');
  await rig.refuses('unlinked', /would load .*root\/packages\/onehop\/dist\/gateway\.js/);
});

test('with another lock file it gets modules of its own', {
  skip: skip || (spawnSync('npm', ['--version']).error === undefined ? false : 'needs npm'),
}, async () => {
  using rig = new Repository();
  rig.write('package-lock.json', lock.replace('"rig"', '"new"'));
  const other = await rig.checkOut('old');
  assert.equal(existsSync(join(other.folder, 'node_modules/third-party')), false);
  assert.equal(output(other.script), '1');
  other.remove();
  rig.assertClean();
});

test('what cannot take part is told in one sentence and leaves nothing behind', {
  skip,
}, async () => {
  using rig = new Repository();
  await rig.refuses('b8d0639', /--against b8d0639: there is no such revision/);
  await rig.refuses('--help', /there is no such revision/);
  rig.write('scripts/build.mjs', "console.error('gateway.ts(1,1): error'); process.exit(2);\n");
  rig.commit('broken');
  await rig.refuses('broken', /it does not build\ngateway\.ts\(1,1\): error/);
  rig.write('scripts/build.mjs', build);
  rig.write('packages/onehop/src/gateway.js', `${gateway(3)}throw new Error('unknown key');\n`);
  rig.commit('strange');
  await rig.refuses('strange', /does not start on .* with the configuration[\s\S]*unknown key/);
  rig.git('rm', '--quiet', '--cached', 'scripts/build.mjs', 'package-lock.json');
  rig.git('commit', '--quiet', '--message', 'Be bare');
  await rig.refuses('HEAD', /no package-lock\.json/);
});

test('without a repository there is nothing to check out', { skip }, async () => {
  using rig = new Repository();
  rmSync(join(rig.root, '.git'), { recursive: true });
  await assert.rejects(rig.checkOut('HEAD'), /needs a git repository/);
  assert.deepEqual(readdirSync(rig.under), []);
});

/** Commits a build in two processes that does not end by itself. @returns where it tells its id */
function makeEndless(rig: Repository): string {
  const mark = join(rig.folder, 'begun');
  const run = "import { spawnSync } from 'node:child_process';\nspawnSync(process.execPath, ";
  rig.write('scripts/build.mjs', `${run}['scripts/endless.mjs'], { stdio: 'inherit' });\n`);
  rig.write(
    'scripts/endless.mjs',
    "import { renameSync, writeFileSync } from 'node:fs';\nsetInterval(() => {}, 1000);\n" +
      `writeFileSync('id', String(process.pid));\nrenameSync('id', ${JSON.stringify(mark)});\n`,
  );
  rig.commit('endless');
  return mark;
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 20));
}

/** Not one that is dead and that nobody has asked after. */
function isRunning(pid: number): boolean {
  const { status, stdout } = spawnSync('ps', ['-o', 'stat=', '-p', String(pid)], {
    encoding: 'utf8',
  });
  return status === 0 && !stdout.startsWith('Z');
}

test('Ctrl-C in the middle of its build ends the build and removes the tree', {
  skip,
}, async () => {
  using rig = new Repository();
  const mark = makeEndless(rig);
  const stop = new AbortController();
  void until(() => existsSync(mark)).then(() => stop.abort());
  await assert.rejects(rig.checkOut('endless', { signal: stop.signal }), (error: CliError) => {
    assert.equal(error.exitCode, ExitCode.Interrupted);
    return true;
  });
  rig.assertClean();
  await until(() => !isRunning(Number(readFileSync(mark, 'utf8'))));
});

test('an exit of the process in the middle removes the tree and what runs there', {
  skip,
}, async () => {
  using rig = new Repository();
  const mark = makeEndless(rig);
  const path = join(rig.folder, 'exits.mjs');
  const module = JSON.stringify(new URL('./against.js', import.meta.url).href);
  const options = `{ signal: new AbortController().signal, under: ${JSON.stringify(rig.under)}, runtimes: [], onStep() {} }`;
  writeFileSync(
    path,
    `import { checkOut } from ${module};\nprocess.stdin.once('data', () => process.exit(7));\n` +
      `await checkOut(${JSON.stringify(rig.root)}, 'endless', ${options});\n`,
  );
  const child = spawn(process.execPath, [path], { stdio: ['pipe', 'inherit', 'inherit'] });
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  await until(() => existsSync(mark));
  child.stdin.write('now\n');
  assert.equal(await ended, 7);
  rig.assertClean();
  await until(() => !isRunning(Number(readFileSync(mark, 'utf8'))));
});
