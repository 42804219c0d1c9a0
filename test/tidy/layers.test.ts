import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../../..');
const src = join(root, 'packages/onehop/src');
const layers = JSON.parse(readFileSync(join(src, 'layers.json'), 'utf8')) as Record<
  string,
  string[]
>;

function sourceFiles(dir: string): string[] {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => join(entry.parentPath, entry.name));
}

/** Module specifiers of static imports and re-exports, and of dynamic imports of a literal. */
function specifiers(text: string): string[] {
  return [...text.matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)].map((match) => match[1]!);
}

test('a layer imports only the layers that layers.json allows it', () => {
  const broken: string[] = [];
  for (const file of sourceFiles(src)) {
    const folder = relative(src, file).split(sep);
    if (folder.length === 1) continue; // src/index.ts is the public door
    const from = folder[0]!;
    const allowed = layers[from];
    assert.ok(Array.isArray(allowed), `${from}/ is not listed in layers.json`);
    for (const specifier of specifiers(readFileSync(file, 'utf8'))) {
      let to: string | null = null;
      if (specifier === '#transport') to = 'transport';
      else if (specifier.startsWith('.')) {
        to = relative(src, resolve(dirname(file), specifier)).split(sep)[0]!;
      }
      if (to !== null && to !== from && !allowed.includes(to)) {
        broken.push(`${relative(root, file)} imports ${specifier}`);
      }
    }
  }
  assert.deepEqual(broken, []);
});

test('a layer is imported through its index.ts', () => {
  const broken: string[] = [];
  for (const file of sourceFiles(src)) {
    const folder = relative(src, file).split(sep);
    // src/index.ts and the tests may look inside.
    if (folder.length === 1 || file.endsWith('.test.ts')) continue;
    for (const specifier of specifiers(readFileSync(file, 'utf8'))) {
      if (!specifier.startsWith('.')) continue;
      const target = relative(src, resolve(dirname(file), specifier)).split(sep);
      if (target[0] !== folder[0] && target.length > 1 && target[1] !== 'index.ts') {
        broken.push(`${relative(root, file)} imports ${specifier}`);
      }
    }
  }
  assert.deepEqual(broken, []);
});

test('only transport/ touches sockets of the runtime', () => {
  const broken: string[] = [];
  for (const file of sourceFiles(src)) {
    const folder = relative(src, file).split(sep)[0]!;
    if (folder === 'transport' || file.endsWith('.test.ts')) continue;
    for (const specifier of specifiers(readFileSync(file, 'utf8'))) {
      if (/^node:(net|tls|http|https|http2)$/.test(specifier)) {
        broken.push(`${relative(root, file)} imports ${specifier}`);
      }
    }
  }
  assert.deepEqual(broken, []);
});
