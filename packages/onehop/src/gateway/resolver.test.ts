import assert from 'node:assert/strict';
import { test } from 'node:test';
import { waysOf } from './resolver.ts';

test('each address of the larger family is a way of its own, the other family stands behind', () => {
  assert.deepEqual(waysOf([]), []);
  assert.deepEqual(waysOf(['10.0.0.1']), [['10.0.0.1']]);
  assert.deepEqual(waysOf(['10.0.0.1', '10.0.0.2']), [['10.0.0.1'], ['10.0.0.2']]);
  assert.deepEqual(waysOf(['::1', '127.0.0.1']), [['::1', '127.0.0.1']]);
  assert.deepEqual(waysOf(['127.0.0.1', '::1']), [['127.0.0.1', '::1']]);
  assert.deepEqual(waysOf(['fd::1', '10.0.0.1', '10.0.0.2', '10.0.0.3']), [
    ['10.0.0.1', 'fd::1'],
    ['10.0.0.2', 'fd::1'],
    ['10.0.0.3', 'fd::1'],
  ]);
  assert.deepEqual(waysOf(['fd::1', '10.0.0.1', 'fd::2', '10.0.0.2']), [
    ['fd::1', '10.0.0.1'],
    ['fd::2', '10.0.0.2'],
  ]);
});
