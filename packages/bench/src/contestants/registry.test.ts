import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  chatContestantNames,
  contestantNames,
  contestantSource,
  contestantVersion,
  currentRuntime,
  loadChatContestant,
  loadContestant,
} from './index.ts';

const allNames = (runtime?: 'node' | 'bun'): string[] => [
  ...contestantNames(runtime),
  ...chatContestantNames(runtime),
];

const loadAny = async (name: string) =>
  (await loadContestant(name)) ?? (await loadChatContestant(name));

test('the two cases have no name in common', () => {
  assert.equal(new Set(allNames()).size, allNames().length);
});

test('the table and the adapters say the same', async () => {
  for (const name of allNames()) {
    const runtimes = (['node', 'bun'] as const).filter((each) => allNames(each).includes(name));
    // Some adapters cannot be loaded elsewhere: their client is not made for it.
    if (!runtimes.includes(currentRuntime())) continue;
    const contestant = await loadAny(name);
    assert.ok(contestant !== null);
    assert.equal(contestant.name, name);
    assert.deepEqual([...contestant.runtimes], runtimes, name);
    assert.match(name, /^[a-z0-9-]+$/);
  }
});

test('an unknown name is null, also one that objects inherit', async () => {
  assert.equal(await loadContestant('nope'), null);
  assert.equal(await loadContestant('constructor'), null);
  assert.equal(contestantSource('toString'), null);
});

test('every version is read from what is installed', async () => {
  for (const name of allNames(currentRuntime())) {
    const contestant = (await loadAny(name))!;
    assert.match(contestantVersion(contestant, currentRuntime()) ?? '', /^\d+\.\d+\.\d+/, name);
  }
});

test('an adapter is at most 65 lines', () => {
  for (const name of allNames()) {
    const source = contestantSource(name) ?? '';
    assert.ok(source.includes(`name: '${name}'`), name);
    assert.ok(source.split('\n').length <= 65, name);
  }
});
