import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { OnehopError } from 'onehop';
import { makeDirectory, readResults, resultsSchemaText, writeResultsAtomically } from './index.ts';
import { closedCell, simulateStudy } from './synthetic.fixture.ts';

const dir = mkdtempSync(join(tmpdir(), 'onehop-results-'));
after(() => rmSync(dir, { recursive: true, force: true }));

const small = () =>
  simulateStudy({ rounds: 2, clients: [{ id: 'a', cpuUs: 100 }], cells: [closedCell(1000, 10)] });

function refused(path: string, pattern: RegExp): void {
  assert.throws(
    () => readResults(path),
    (error: unknown) => {
      assert.ok(error instanceof OnehopError);
      assert.equal(error.code, 'ARGUMENT_INVALID');
      assert.ok(error.message.includes(path), `names the file: ${error.message}`);
      assert.ok(!error.message.includes('\n'), `one sentence: ${error.message}`);
      assert.match(error.message, pattern);
      return true;
    },
  );
}

function fileWith(name: string, text: string): string {
  const path = join(dir, name);
  writeFileSync(path, text);
  return path;
}

test('what is written is read back the same, and no temporary file stays', () => {
  const path = join(dir, 'good.json');
  writeResultsAtomically(path, small());
  writeResultsAtomically(path, small());
  assert.deepEqual(readResults(path), small());
  assert.deepEqual(
    readdirSync(dir).filter((name) => name.endsWith('.tmp')),
    [],
  );
});

test('a file of a newer schema, of another kind, or broken is refused in one clear sentence', () => {
  refused(join(dir, 'absent.json'), /no such file/);
  refused(dir, /directory/);
  refused(fileWith('empty.json', ''), /not valid JSON: it is empty/);
  refused(fileWith('half.json', JSON.stringify(small()).slice(0, 500)), /not valid JSON/);
  refused(fileWith('array.json', '[]'), /no JSON object/);
  refused(fileWith('oha.json', '{"summary":{}}'), /not a onehop study: it has no "kind"/);
  refused(fileWith('kind.json', '{"kind":"onehop-soak"}'), /its kind is "onehop-soak"/);
  const newer = { ...small(), schemaVersion: 2, entries: 'changed' };
  refused(fileWith('newer.json', JSON.stringify(newer)), /schema version 2.*reads up to 1.*update/);
});

test('a file that breaks the schema names the place', () => {
  const wrong = small();
  (wrong.measurements[1] as unknown as { requestsPerS: string }).requestsPerS = 'fast';
  refused(fileWith('wrong.json', JSON.stringify(wrong)), /measurements\.1\.requestsPerS must be/);
  const dangling = small();
  dangling.measurements[0]!.entry = 'nobody';
  refused(fileWith('dangling.json', JSON.stringify(dangling)), /unknown entry "nobody"/);
});

test('results that could not be read back are not written', () => {
  const path = join(dir, 'nan.json');
  const results = small();
  results.measurements[0]!.latencyMs.p50 = Number.NaN;
  assert.throws(() => writeResultsAtomically(path, results), /measurements\.0\.latencyMs\.p50/);
  assert.throws(() => readResults(path), /no such file/);
});

test('a place that cannot be written is named, and an older file there survives', () => {
  assert.throws(
    () => writeResultsAtomically(join(dir, 'no', 'such', 'dir.json'), small()),
    /cannot write .*dir\.json: there is no such file or directory/,
  );
  const path = join(dir, 'taken');
  mkdirSync(path);
  assert.throws(() => writeResultsAtomically(path, small()), /cannot write .*taken/);
  assert.deepEqual(
    readdirSync(dir).filter((name) => name.endsWith('.tmp')),
    [],
  );
});

test('the published schema is the one that files are checked against', () => {
  const root = join(dirname(fileURLToPath(import.meta.url)), '../../schema/results.schema.json');
  assert.deepEqual(
    JSON.parse(readFileSync(root, 'utf8')),
    JSON.parse(resultsSchemaText()),
    'run `node scripts/write-results-schema.mjs`',
  );
});

test('the schema refuses a results file with any required field missing', () => {
  // Each field of the type is required by the schema: taking any one away must be noticed.
  const optional = new Set(['source', 'calibrationMs']);
  const samples: [string, (results: ReturnType<typeof small>) => object][] = [
    ['results', (results) => results],
    ['rig', (results) => results.rig],
    ['settings', (results) => results.settings],
    ['entry', (results) => results.entries[0]!],
    ['cell', (results) => results.cells[0]!],
    ['measurement', (results) => results.measurements[0]!],
    ['generator', (results) => results.measurements[0]!.generator],
    ['upstream', (results) => results.measurements[0]!.upstream],
    ['audit', (results) => results.audit[0]!],
  ];
  for (const [name, pick] of samples) {
    for (const key of Object.keys(pick(small()))) {
      if (optional.has(key)) continue;
      const results = small();
      delete (pick(results) as Record<string, unknown>)[key];
      const path = fileWith('missing.json', JSON.stringify(results));
      assert.throws(() => readResults(path), OnehopError, `${name}.${key} may not be missing`);
    }
  }
});

test('a directory is made with those above it, and one below /proc is refused instead of tried for ever', () => {
  const top = join(dir, 'made');
  assert.equal(makeDirectory(join(top, 'a', 'b')), top);
  assert.equal(makeDirectory(join(top, 'a', 'b')), null);
  const file = fileWith('plain', '');
  for (const path of [file, join(file, 'below'), '/proc/onehop/results']) {
    assert.throws(() => makeDirectory(path), /ENOENT|ENOTDIR|EEXIST|EACCES|EPERM|EROFS/, path);
  }
});
