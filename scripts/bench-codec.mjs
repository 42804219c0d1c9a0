// Runs the benchmark of the HTTP/1.1 codec under Node and, when it is found, under Bun.
// `--runtime node|bun|both`; everything else (`--out DIR`, `--rounds N`) is handed on.
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findBun } from '../packages/onehop/dist/cli/find-bun.js';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const bench = join(root, 'packages/onehop/dist/http1/codec.bench.js');
const args = process.argv.slice(2);
const at = args.indexOf('--runtime');
const runtime = at < 0 ? 'both' : args.splice(at, 2)[1];
const commands = [];
if (runtime !== 'bun') commands.push(process.execPath);
if (runtime !== 'node') {
  const bun = findBun();
  if (bun !== null) commands.push(bun);
  else console.log('Bun was not found: only Node is measured');
}
let status = 0;
for (const command of commands) {
  const result = spawnSync(command, [bench, ...args], { cwd: root, stdio: 'inherit' });
  status ||= result.status ?? 1;
}
process.exit(status);
