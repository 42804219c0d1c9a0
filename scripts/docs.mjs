// Writes docs/reference/errors.md and docs/reference/limits.md from the tables in the code.
// `--check` writes nothing and exits 1 when a file is out of step; test/tidy calls it so.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ERRORS } from '../packages/onehop/dist/core/index.js';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

const RETRY = {
  never: 'never',
  always: 'yes: provably not processed',
  'if-reused': 'when the connection was reused and no byte came back',
  'if-idempotent': 'only idempotent methods',
};

function errorsPage() {
  const rows = Object.entries(ERRORS).map(
    ([code, { side, status, retry, help }]) =>
      `| \`${code}\` | ${side} | ${status} | ${RETRY[retry]} | ${help} |`,
  );
  return [
    '# Errors',
    '',
    'Every failure is an `OnehopError` with a `code` from this table (`packages/onehop/src/core/errors.ts`).',
    'Test by `error.code`. `error.phase` says where it happened, `error.upstream` at which origin, `error.cause`',
    'what the runtime said. Status is what a gateway answers with; 499 is only ever logged.',
    '',
    '| code | side | status | sent again? | meaning |',
    '|---|---|--:|---|---|',
    ...rows,
    '',
  ].join('\n');
}

/** One row per exported number of core/limits.ts, with its docstring. */
function limitsPage() {
  const source = readFileSync(join(root, 'packages/onehop/src/core/limits.ts'), 'utf8');
  const rows = [
    ...source.matchAll(
      /\/\*\*((?:(?!\*\/)[\s\S])*)\*\/\s*(?:export const )?(\w+)\s*[:=]\s*([^;,\n]+)[;,]/g,
    ),
  ].map(
    ([, comment, name, value]) =>
      `| \`${name}\` | \`${value.trim()}\` | ${comment.replace(/\s*\n\s*\*\s?/g, ' ').trim()} |`,
  );
  return [
    '# Limits',
    '',
    'Defaults from `packages/onehop/src/core/limits.ts`; each can be set.',
    '',
    '| name | default | meaning |',
    '|---|---|---|',
    ...rows,
    '',
  ].join('\n');
}

const pages = [['docs/reference/errors.md', errorsPage()]];
if (existsSync(join(root, 'packages/onehop/src/core/limits.ts'))) {
  pages.push(['docs/reference/limits.md', limitsPage()]);
}
let stale = 0;
for (const [path, text] of pages) {
  const file = join(root, path);
  if (process.argv.includes('--check')) {
    if (!existsSync(file) || readFileSync(file, 'utf8') !== text) {
      console.error(`${path} is out of step with the code: run \`npm run docs\``);
      stale += 1;
    }
  } else {
    writeFileSync(file, text);
    console.log(`wrote ${path}`);
  }
}
process.exit(stale > 0 ? 1 : 0);
