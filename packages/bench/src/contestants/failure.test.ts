import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describeFailure } from './failure.ts';

test('what a cause says in the words of its error is not said again', () => {
  const cause = new Error('connect ECONNREFUSED 127.0.0.1:1');
  const error = new Error(`cannot connect to http://127.0.0.1:1: ${cause.message}`, { cause });
  assert.equal(describeFailure(error).message, error.message);
  const other = new Error('fetch failed', { cause });
  assert.equal(describeFailure(other).message, `fetch failed: ${cause.message}`);
  assert.equal(describeFailure(new Error('')).message, 'unknown error');
});
