/** The examples run as they are, and the documents show them as they are. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type Service, startOpenAiService } from '@onehop/mock';
import { differences, differencesOnBun } from './fetch-differences.ts';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../../..');
const folders = ['examples/01-client', 'examples/02-fetch', 'examples/03-gateway'];
const examples = folders
  .flatMap((folder) => readdirSync(join(root, folder)).map((name) => `${folder}/${name}`))
  .filter((name) => name.endsWith('.mjs'));

let mock: Service;
before(async () => {
  mock = await startOpenAiService({ seed: 1 });
});
after(() => mock.close());

/** What an example says it prints: regular expressions behind `//>`, one a line. */
function split(source: string): { code: string; expected: string[] } {
  const lines = source.trimEnd().split('\n');
  const expected = lines.filter((line) => line.startsWith('//> ')).map((line) => line.slice(4));
  return { code: lines.filter((line) => !line.startsWith('//> ')).join('\n'), expected };
}

function run(file: string): Promise<{ code: number | null; out: string; err: string }> {
  const env = { ...process.env, UPSTREAM: `http://127.0.0.1:${mock.port}` };
  const child = spawn(process.execPath, [file], { cwd: root, env, timeout: 50_000 });
  let out = '';
  let err = '';
  child.stdout.on('data', (piece) => {
    out += piece;
  });
  child.stderr.on('data', (piece) => {
    err += piece;
  });
  return new Promise((done) => child.on('close', (code) => done({ code, out, err })));
}

for (const example of examples) {
  test(`${example} runs and prints what it says`, async () => {
    const { expected } = split(readFileSync(join(root, example), 'utf8'));
    assert.ok(expected.length > 0, 'it says nothing about its output');
    const { code, out, err } = await run(example);
    assert.equal(code, 0, err);
    assert.match(out, new RegExp(`^${expected.join('\\n')}\\n$`));
  });
}

test('the documents show the examples as they are', () => {
  const shown = new Set<string>();
  for (const name of readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })) {
    if (!name.endsWith('.md')) continue;
    const text = readFileSync(join(root, 'docs', name), 'utf8');
    for (const [, path, block] of text.matchAll(
      /<!-- (examples\/\S+) -->\n```js\n([\s\S]*?)\n```/g,
    )) {
      shown.add(path!);
      const { code } = split(readFileSync(join(root, path!), 'utf8'));
      assert.equal(block, code, `${relative(root, name)} shows an older ${path}`);
    }
  }
  assert.deepEqual(
    examples.filter((example) => !shown.has(example)),
    [],
    'shown nowhere',
  );
});

test('the page on fetch lists exactly the differences that the tests hold', () => {
  const page = readFileSync(join(root, 'docs/reference/fetch.md'), 'utf8');
  const rows = [...page.matchAll(/^\| (.+?) \| (.+?) \|$/gm)].map(([row]) => row);
  const wanted = [...Object.entries(differences), ...Object.entries(differencesOnBun)].map(
    ([name, why]) => `| ${name} | ${why} |`,
  );
  const listed = page.slice(page.indexOf('## Where not'));
  const found = rows.filter((row) => listed.includes(row) && !/^\| (-|scenario)/.test(row));
  assert.deepEqual(found.sort(), wanted.sort());
});
