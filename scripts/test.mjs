// Runs every test file under Node and then under Bun, and closes with one line
// `N passed, N failed, N skipped` that adds both up. `--runtime node|bun` picks one; further
// arguments keep only the files whose path contains one of them.
import { spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const { values, positionals } = parseArgs({
  options: { runtime: { type: 'string', default: 'both' } },
  allowPositionals: true,
});
const outputs = ['packages/onehop/dist', 'packages/mock/dist', 'packages/bench/dist', 'test/dist'];

function testFiles() {
  const files = [];
  for (const out of outputs) {
    const dir = join(root, out);
    if (!existsSync(dir)) {
      console.error(`${out} is missing: run \`npm run build\` first`);
      process.exit(1);
    }
    for (const entry of readdirSync(dir, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile() || !entry.name.endsWith('.test.js')) continue;
      const file = relative(root, join(entry.parentPath, entry.name));
      if (positionals.length === 0 || positionals.some((part) => file.includes(part))) {
        files.push(file);
      }
    }
  }
  return files.sort();
}

/** Runs a command, echoes its output and returns it whole with the exit code. */
function run(command, args) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
    let text = '';
    const keep = (stream) => (chunk) => {
      text += chunk;
      stream.write(chunk);
    };
    child.stdout.on('data', keep(process.stdout));
    child.stderr.on('data', keep(process.stderr));
    child.on('error', (error) => resolve({ code: 1, text: String(error) }));
    child.on('close', (code) => resolve({ code: code ?? 1, text }));
  });
}

const count = (text, pattern) =>
  [...text.matchAll(pattern)].reduce((sum, match) => sum + Number(match[1]), 0);

async function runNode(files) {
  // A file that hangs fails after its time instead of holding everything up.
  const args = [
    '--test',
    '--test-timeout=300000',
    '--test-concurrency=2',
    '--test-reporter=spec',
    ...files,
  ];
  const { code, text } = await run(process.execPath, args);
  return {
    name: 'node',
    code,
    passed: count(text, /^ℹ pass (\d+)$/gm),
    failed: count(text, /^ℹ (?:fail|cancelled) (\d+)$/gm),
    skipped: count(text, /^ℹ (?:skipped|todo) (\d+)$/gm),
  };
}

async function runBun(files) {
  const { findBun } = await import('../packages/onehop/dist/cli/find-bun.js');
  const bun = findBun();
  if (bun === null) {
    console.log('Bun was not found: every test file is counted as skipped under Bun');
    return { name: 'bun', code: 0, passed: 0, failed: 0, skipped: files.length };
  }
  const total = { name: 'bun', code: 0, passed: 0, failed: 0, skipped: 0 };
  // One process per file: files share no state under Node either.
  for (const file of files) {
    const { code, text } = await run(bun, ['test', '--timeout', '180000', `./${file}`]);
    const passed = count(text, /^ *(\d+) pass$/gm);
    const failed = count(text, /^ *(\d+) fail$/gm);
    const skipped = count(text, /^ *(\d+) (?:skip|todo)$/gm);
    total.passed += passed;
    total.failed += code !== 0 && failed === 0 ? 1 : failed;
    total.skipped += skipped;
    if (code !== 0) total.code = code;
  }
  return total;
}

const files = testFiles();
if (files.length === 0) {
  console.error('no test file matches');
  process.exit(1);
}
const results = [];
if (values.runtime !== 'bun') results.push(await runNode(files));
if (values.runtime !== 'node') results.push(await runBun(files));
const sum = (key) => results.reduce((total, result) => total + result[key], 0);
console.log('');
for (const { name, passed, failed, skipped } of results) {
  console.log(`${name}: ${passed} passed, ${failed} failed, ${skipped} skipped`);
}
console.log(`${sum('passed')} passed, ${sum('failed')} failed, ${sum('skipped')} skipped`);
process.exit(results.some(({ code, failed }) => code !== 0 || failed > 0) ? 1 : 0);
