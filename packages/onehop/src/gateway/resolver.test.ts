import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SpreadingResolver } from './resolver.ts';

test('addresses take turns, and a name is looked up again when its time is over', () => {
  let found = ['10.0.0.1', '10.0.0.2', '10.0.0.3'];
  let lookups = 0;
  let nowMs = 0;
  const resolver = new SpreadingResolver({
    ttlMs: 1000,
    nowMs: () => nowMs,
    lookup: (_host, done) => {
      lookups++;
      done(
        null,
        found.map((address) => ({ address, family: 4 })),
      );
    },
  });
  const ask = (): string => {
    let answer: readonly string[] = [];
    resolver.resolve('models.internal', (error, addresses) => {
      assert.equal(error, null);
      answer = addresses;
    });
    assert.equal(new Set(answer).size, answer.length, 'an address comes twice');
    return answer[0]!;
  };
  assert.deepEqual([ask(), ask(), ask(), ask()], [...found, found[0]!]);
  assert.equal(lookups, 1);
  found = ['10.0.0.9'];
  assert.notEqual(ask(), '10.0.0.9', 'looked up before its time');
  assert.equal(lookups, 1);
  nowMs = 1001;
  assert.equal(ask(), '10.0.0.9');
  assert.equal(lookups, 2);
});
