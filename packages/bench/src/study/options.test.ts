import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CliError } from '../cli-error.ts';
import { checkClientNames } from './entries.ts';
import { checkOptions, durationMs, type RawOptions, readOptions } from './options.ts';
import { nearest } from './suggest.ts';

const bad: [RawOptions, RegExp][] = [
  [{ requests: '0' }, /^-n takes a whole number from 1 /],
  [{ requests: 'many' }, /^-n takes a whole number .* not "many"$/],
  [{ requests: '1e3' }, /^-n takes/],
  [{ requests: '100,,200' }, /^-n takes a list/],
  [{ connections: '-5' }, /^-c takes/],
  [{ connections: '2.5' }, /^-c takes/],
  [{ connections: '999999' }, /^-c takes a whole number from 1 to 20000/],
  [{ latency: 'slow' }, /^--latency takes/],
  [{ rounds: '0' }, /^--rounds takes/],
  [{ seed: '-1' }, /^--seed takes/],
  [{ budget: '3 parsecs' }, /^--budget takes a time such as/],
  [{ budget: '2s' }, /^--budget: less than 15s/],
  [{ untilDecided: true }, /^--until-decided needs --budget/],
  [{ reuse: 'sometimes' }, /^--reuse takes shared or per-request or both/],
  [{ runtime: 'deno' }, /^--runtime takes/],
  [{ runtime: 'bun' }, /Bun was not found/],
  [{ python: 'yes' }, /^--python takes/],
  [{ generator: 'ab' }, /^--generator takes/],
  [{ upstream: 'real' }, /^--upstream takes/],
  [{ openLoop: 'fast' }, /^--open-loop takes/],
  [{ cellLimit: '0s' }, /^--cell-limit takes/],
];

for (const [raw, message] of bad) {
  test(`refuses ${JSON.stringify(raw)} with one sentence`, () => {
    assert.throws(
      () => readOptions(raw, false),
      (error) => error instanceof CliError && message.test(error.message) && error.exitCode === 1,
    );
  });
}

test('settings that contradict each other are refused', () => {
  const study = readOptions({ upstream: 'study', latency: '5' }, true);
  assert.throws(() => checkOptions(study), /--latency works with --upstream fast only/);
  const oha = readOptions({ generator: 'oha', openLoop: '100' }, true);
  assert.throws(() => checkOptions(oha), /--open-loop needs --generator onehop/);
  assert.doesNotThrow(() => checkOptions(readOptions({}, true)));
});

test('an unknown client is named with the nearest known one and all of them', () => {
  const known = ['undici-request', 'undici-dispatch', 'node-http', 'axios'];
  assert.throws(
    () => checkClientNames(['axois'], known),
    /no client "axois"; did you mean axios\? \(known: undici-request, .*axios\)/,
  );
  assert.throws(() => checkClientNames(['postman'], known), /no client "postman" \(known:/);
  assert.throws(() => checkClientNames(['axios@deno'], known), /unknown runtime/);
  assert.doesNotThrow(() => checkClientNames(['axios@bun', 'all'], known));
});

test('suggestions are near misses or beginnings, nothing far-fetched', () => {
  const known = ['undici-request', 'node-http', 'got', 'ky'];
  assert.equal(nearest('undici', known), 'undici-request');
  assert.equal(nearest('node-htp', known), 'node-http');
  assert.equal(nearest('selenium', known), null);
});

test('times are read with their units', () => {
  assert.equal(durationMs('220s', '--budget'), 220_000);
  assert.equal(durationMs('1.5m', '--budget'), 90_000);
  assert.equal(durationMs('250ms', '--budget'), 250);
  assert.equal(durationMs('30', '--budget'), 30_000);
});

test('rounds without a budget are carried out whole; by default time decides', () => {
  assert.equal(readOptions({ rounds: '3' }, true).planning, 'uniform');
  assert.equal(readOptions({ rounds: '3' }, true).budgetMs, null);
  assert.equal(readOptions({}, true).planning, 'tiered');
  assert.ok(readOptions({}, true).budgetMs! < 240_000);
});

test('a study with oha needs no --open-loop off: the default leaves the open loop out', () => {
  const options = readOptions({ generator: 'oha' }, false);
  assert.deepEqual(options.openLoopRates, []);
  checkOptions(options);
  assert.throws(
    () => checkOptions(readOptions({ generator: 'oha', openLoop: '100' }, false)),
    /--open-loop needs --generator onehop/,
  );
});
