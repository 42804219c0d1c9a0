// Compiles the workspace with `tsc -b` and removes outputs whose source is gone, so that a test or a
// module deleted from `src/` cannot live on in `dist/`. Runs as npm's `prepare`, hence in plain JS.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const projects = [
  { src: 'packages/onehop/src', out: 'packages/onehop/dist' },
  { src: 'packages/mock/src', out: 'packages/mock/dist' },
  { src: 'packages/bench/src', out: 'packages/bench/dist' },
  { src: 'test', out: 'test/dist' },
];

/** Deletes `x.js`, `x.d.ts` and their maps under `out` when `src` holds no `x.ts`. */
function removeStale(src, out) {
  if (!existsSync(out)) return;
  for (const entry of readdirSync(out, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const match = /^(.*?)(\.d\.ts|\.js)(\.map)?$/.exec(entry.name);
    if (!match) continue;
    const dir = relative(out, entry.parentPath);
    if (!existsSync(join(src, dir, `${match[1]}.ts`))) rmSync(join(entry.parentPath, entry.name));
  }
}

for (const { src, out } of projects) removeStale(join(root, src), join(root, out));

const require = createRequire(import.meta.url);
let tsc;
try {
  tsc = join(dirname(require.resolve('typescript/package.json')), 'bin', 'tsc');
} catch {
  console.error('onehop: TypeScript is not installed; run `npm ci` first');
  process.exit(1);
}
const result = spawnSync(process.execPath, [tsc, '-b', ...process.argv.slice(2)], {
  cwd: root,
  stdio: 'inherit',
});
process.exit(result.status ?? 1);
