import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { parseConfig } from 'onehop/gateway';
import { METRICS } from 'onehop/telemetry';
import { parse } from 'yaml';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../../..');

function markdownFiles(): string[] {
  const top = readdirSync(root).filter((name) => name.endsWith('.md'));
  const docs = readdirSync(join(root, 'docs'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.md'))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)));
  return [...top, ...docs];
}

test('the generated references are in step with the code', () => {
  const node = process.versions['bun'] === undefined ? process.execPath : 'node';
  const { status, stderr } = spawnSync(node, ['scripts/docs.mjs', '--check'], {
    cwd: root,
    encoding: 'utf8',
  });
  assert.equal(status, 0, stderr);
});

test('the published schema of the gateway takes its example and refuses a misspelt key', () => {
  const schema = JSON.parse(
    readFileSync(join(root, 'packages/onehop/schema/onehop.schema.json'), 'utf8'),
  ) as object;
  const validate = new Ajv2020({ strict: false }).compile(schema);
  const example = parse(readFileSync(join(root, 'examples/onehop.yaml'), 'utf8')) as {
    upstreams: Record<string, object>;
  };
  assert.ok(validate(example), JSON.stringify(validate.errors));
  example.upstreams['llm'] = { ...example.upstreams['llm'], balence: 'p2c' };
  assert.equal(validate(example), false);
});

test('the example configuration is valid', () => {
  const text = readFileSync(join(root, 'examples/onehop.yaml'), 'utf8');
  const { config, problems } = parseConfig(text, {});
  assert.deepEqual(problems, []);
  assert.equal(config!.routes.length > 0, true);
});

test('every metric of the catalogue is written somewhere', () => {
  const source = join(root, 'packages/onehop/src');
  const text = ['gateway', 'cli']
    .flatMap((folder) =>
      readdirSync(join(source, folder))
        .filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts'))
        .map((name) => readFileSync(join(source, folder, name), 'utf8')),
    )
    .join('\n');
  assert.deepEqual(
    Object.keys(METRICS).filter((name) => !text.includes(name)),
    [],
  );
});

test('every npm script that a document names exists', () => {
  const scripts = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).scripts as object;
  const missing: string[] = [];
  for (const file of markdownFiles()) {
    const text = readFileSync(join(root, file), 'utf8');
    for (const [, name] of text.matchAll(/npm run ([a-z][\w:-]*)/g)) {
      if (!(name! in scripts)) missing.push(`${file}: npm run ${name}`);
    }
  }
  assert.deepEqual(missing, []);
});

test('every file of the repository that a document names exists', () => {
  const missing: string[] = [];
  for (const file of markdownFiles()) {
    const text = readFileSync(join(root, file), 'utf8');
    const named = [
      ...[...text.matchAll(/`((?:packages|scripts|test|docs|lab|examples)\/[\w./-]+)`/g)].map(
        (match) => join(root, match[1]!),
      ),
      ...[...text.matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)/g)].map((match) =>
        join(root, dirname(file), match[1]!),
      ),
    ];
    for (const path of named) {
      if (!existsSync(path)) missing.push(`${file}: ${relative(root, path)}`);
    }
  }
  assert.deepEqual(missing, []);
});
