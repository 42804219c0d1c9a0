import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../../..');

test("the README's part on the study says what the committed results hold", () => {
  const script = join(root, 'scripts/study-readme.mjs');
  const check = spawnSync(process.execPath, [script, '--check'], { encoding: 'utf8' });
  assert.equal(check.status, 0, check.stderr);
  // A part without a figure would agree with anything.
  const part = readFileSync(join(root, 'README.md'), 'utf8').split('<!-- study:begin')[1];
  assert.match(part ?? '', /\| onehop \| Node \| [\d.,]+/);
});
