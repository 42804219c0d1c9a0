import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { findBun } from 'onehop/cli/find-bun';
import { ExitCode } from '../cli-error.ts';
import { canMeasure } from './process-stats.ts';
import type { GatewayBenchResult } from './types.ts';

const here = dirname(fileURLToPath(import.meta.url));
const git = (...words: string[]) =>
  spawnSync('git', words, { cwd: here, encoding: 'utf8', env: { ...process.env, LC_ALL: 'C' } });
const skip = !canMeasure()
  ? 'needs /proc'
  : findBun() === null
    ? 'needs Bun'
    : git('rev-parse', 'HEAD').status === 0
      ? false
      : 'needs the git repository';

class Bench implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'onehop-bench-test-'));
  /** What it takes for the folder of temporary files. */
  readonly under = join(this.folder, 'tmp');
  readonly result = join(this.folder, 'gateway.json');
  readonly child: ChildProcess;
  readonly ended: Promise<number | null>;
  #said = '';
  #waiting: (() => void) | null = null;

  constructor(...words: string[]) {
    mkdirSync(this.under);
    this.child = spawn(process.execPath, [join(here, 'main.js'), ...words, '--out', this.result], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, TMPDIR: this.under },
    });
    for (const stream of [this.child.stdout!, this.child.stderr!]) {
      stream.on('data', (piece: Buffer) => {
        this.#said += piece;
        this.#waiting?.();
      });
    }
    this.ended = new Promise((resolve) => this.child.once('close', resolve));
  }

  get said(): string {
    return this.#said;
  }

  /** Waits for a step to be told. */
  async says(text: string): Promise<void> {
    while (!this.#said.includes(text)) {
      assert.equal(this.child.exitCode, null, this.#said);
      await new Promise<void>((resolve) => {
        this.#waiting = resolve;
        this.child.once('close', resolve);
      });
    }
  }

  assertClean(): void {
    assert.deepEqual(readdirSync(this.under), []);
    assert.ok(!git('worktree', 'list').stdout.includes(this.under));
  }

  [Symbol.dispose](): void {
    this.child.kill('SIGKILL');
    rmSync(this.folder, { recursive: true, force: true });
  }
}

test('a revision takes part in every round beside this tree and is gone at the end', {
  skip,
}, async () => {
  using bench = new Bench('--against', 'HEAD', '--only', 'P3', '--quick', '--rounds', '1');
  const code = await bench.ended;
  // One short round proves no bar, but it may miss that against nginx.
  assert.ok(code === ExitCode.Fine || code === ExitCode.Breached, bench.said);
  bench.assertClean();
  const result = JSON.parse(readFileSync(bench.result, 'utf8')) as GatewayBenchResult;
  const commit = git('rev-parse', 'HEAD').stdout.trim();
  assert.equal(result.against!.commit, commit);
  assert.equal(result.against!.most, 1.02);
  const [cpu] = result.against!.ratios;
  assert.equal(cpu!.forwarder, 'onehop-bun');
  assert.equal(cpu!.verdict, 'undecided');
  const figure = (name: string): number =>
    result.samples.find(({ forwarder }) => forwarder === name)!.cpuUs!;
  const ratio = figure('onehop-bun') / figure('onehop-bun@old');
  assert.deepEqual(cpu!.ratios, [{ round: 0, ratio }]);
  assert.ok(result.forwarders.some(({ name }) => name.includes(commit.slice(0, 7))));
  assert.match(bench.said, /This tree over/);
});

for (const [signal, step] of [
  ['SIGINT', 'building'],
  ['SIGTERM', 'starting and warming'],
] as const) {
  test(`${signal} while it is ${step} ends it with nothing left behind`, { skip }, async () => {
    using bench = new Bench('--against', 'HEAD', '--only', 'P3', '--rounds', '1');
    await bench.says(step);
    bench.child.kill(signal);
    assert.equal(await bench.ended, ExitCode.Interrupted, bench.said);
    assert.match(bench.said, /interrupted/);
    bench.assertClean();
  });
}
