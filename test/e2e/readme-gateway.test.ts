/** The README's gateway section does what it says; `npm run try:readme` tries it in a fresh clone. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const script = fileURLToPath(new URL('../../../scripts/try-readme.mjs', import.meta.url));
const missing = ['bash', 'curl', 'seq'].filter((name) => {
  return spawnSync(name, ['--version'], { stdio: 'ignore' }).status !== 0;
});

test('each command of the gateway section shows what the README says', {
  skip: missing.length > 0 ? `${missing.join(', ')} not found` : false,
}, async () => {
  const child = spawn(process.execPath, [script, '--here'], { stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (bytes) => {
      text += bytes;
    });
  }
  const code = await new Promise((resolve) => child.once('close', resolve));
  assert.equal(code, 0, text);
});
