/** A short run of every fuzzer; the long one is `node scripts/fuzz.mjs NAME --runs 10000000`. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PLANTED } from './canary.ts';
import { generate } from './generate.ts';
import { Random } from './random.ts';
import { FUZZERS, findFuzzer } from './registry.ts';

const seed = Number(process.env['ONEHOP_FUZZ_SEED'] ?? 20261123);

for (const fuzzer of FUZZERS) {
  if (fuzzer.mustFail === true) continue;
  const skip = fuzzer.unavailable === '' ? false : fuzzer.unavailable;
  test(`${fuzzer.name}: 10,000 messages of seed ${seed} without an unexplained disagreement`, {
    skip,
  }, async () => {
    const result = await fuzzer.run({ seed, from: 0, runs: 10_000, failuresMax: 3 });
    const found = result.failures.map(
      ({ index, input, reason }) => `${index}: ${reason}\n${JSON.stringify(input)}`,
    );
    assert.deepEqual(found, [], `replay: node scripts/fuzz.mjs ${fuzzer.name} --seed ${seed}`);
    assert.equal(result.runs, 10_000);
  });
}

test('the canary finds every planted bug', async () => {
  const result = await findFuzzer('canary').run({ seed, from: 0, runs: 10_000, failuresMax: 1 });
  const found = result.failures.map(({ reason }) => reason.split(':')[0]);
  assert.deepEqual(found, Object.keys(PLANTED));
});

test('a message depends on its seed and index alone', () => {
  const texts = [7, 7, 8].map((index) => generate(Random.at(5, index), 'request'));
  assert.equal(texts[0], texts[1]);
  assert.notEqual(texts[0], texts[2]);
});
