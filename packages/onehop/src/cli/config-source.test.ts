import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { fileSource, watchConfig } from './config-source.ts';

const dir = mkdtempSync(join(tmpdir(), 'onehop-config-'));
after(() => rmSync(dir, { recursive: true, force: true }));

const text = (prefix: string): string =>
  `upstreams: { one: { targets: ["http://127.0.0.1:1"] } }\nroutes: [{ path: ${prefix}/*, upstream: one }]\n`;

/** A file of that name that was loaded. */
function loaded(name: string): { file: string; source: ReturnType<typeof fileSource> } {
  const file = join(dir, name);
  writeFileSync(file, text('/a'));
  const source = fileSource(file);
  assert.notEqual(source.load().config, null);
  return { file, source };
}

/** Watches until it is told of a change; false when it is not within the time. */
function told(source: ReturnType<typeof fileSource>, withinMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      stop();
      resolve(false);
    }, withinMs);
    const stop = watchConfig(source, () => {
      clearTimeout(timer);
      stop();
      resolve(true);
    });
  });
}

test('a change between the load and the watch is told of', async () => {
  const { file, source } = loaded('early.yaml');
  writeFileSync(file, text('/b'));
  assert.equal(await told(source, 10_000), true);
});

test('a file renamed over the watched one is told of, until it is loaded', async () => {
  const { file, source } = loaded('renamed.yaml');
  const change = told(source, 10_000);
  const other = join(dir, 'other.yaml');
  writeFileSync(other, text('/b'));
  renameSync(other, file);
  assert.equal(await change, true);
  assert.equal(source.hasChanged(), true);
  source.load();
  assert.equal(source.hasChanged(), false);
});

test('the same text written again, and a file that is gone, are no change', async () => {
  const { file, source } = loaded('same.yaml');
  const change = told(source, 600);
  writeFileSync(file, text('/a'));
  rmSync(file);
  assert.equal(await change, false);
});

test('a file that stays away, or is none any more, was never told of', async () => {
  const { file, source } = loaded('away.yaml');
  let changes = 0;
  const stop = watchConfig(source, () => {
    changes++;
    source.load();
  });
  const counts = async (wanted: number): Promise<void> => {
    for (let waited = 0; changes < wanted && waited < 20_000; waited += 20) await pause(20);
    // Not told again, while nothing else happens.
    await pause(300);
    assert.equal(changes, wanted);
  };
  try {
    rmSync(file);
    await counts(1);
    assert.match(source.load().problems.join(), /there is no such file/);
    writeFileSync(file, text('/b'));
    await counts(2);
    assert.notEqual(source.load().config, null);
    rmSync(file);
    mkdirSync(file);
    await counts(3);
    assert.match(source.load().problems.join(), /it is a directory/);
  } finally {
    stop();
  }
});
