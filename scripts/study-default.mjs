// Makes lab/results/study-default and the README's table anew: the default study, alone on the
// machine and from a clean commit. `npm run study:default -- --seed N`.
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const target = join(root, 'lab/results/study-default');

function run(args, options = {}) {
  return spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit', ...options });
}

const git = spawnSync('git', ['status', '--porcelain'], { cwd: root, encoding: 'utf8' });
if (git.status === 0 && git.stdout.trim() !== '') {
  console.error('study:default: commit first; a committed result must name the commit it is of');
  process.exit(1);
}
if (run(['scripts/build.mjs']).status !== 0) process.exit(1);
const scratch = mkdtempSync(join(tmpdir(), 'onehop-study-default-'));
const out = join(scratch, 'study-default');
const cli = 'packages/onehop/bin/onehop.js';
const { status } = run([cli, 'bench', 'study', ...process.argv.slice(2), '--out', out]);
// 3 and 4 are verdicts on the rig: the report tells them, and whoever commits decides.
if (![0, 3, 4].includes(status ?? -1) || !existsSync(join(out, 'report.md'))) {
  console.error(`study:default: the study ended with ${status}; ${target} is as it was`);
  process.exit(status || 1);
}
rmSync(target, { recursive: true, force: true });
for (const name of readdirSync(out)) {
  // One file per cell and round is too much to keep; results.json holds every figure of them.
  if (['oha', 'plan.json'].includes(name)) continue;
  cpSync(join(out, name), join(target, name), {
    recursive: true,
    filter: (source) => !source.endsWith('.png'),
  });
}
rmSync(scratch, { recursive: true });
process.exit(run(['scripts/study-readme.mjs']).status ?? 1);
