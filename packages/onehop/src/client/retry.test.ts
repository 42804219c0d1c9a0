import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ErrorCode } from '../core/index.ts';
import { decideRetry, isIdempotent, RetryBudget, type RetryContext } from './retry.ts';

const base: RetryContext = {
  idempotent: true,
  reused: true,
  sent: true,
  responseBytes: 0,
  bodyReplayable: true,
  attempt: 1,
  attemptsMax: 2,
  elsewhere: false,
};
const decide = (code: ErrorCode, change: Partial<RetryContext> = {}): boolean =>
  decideRetry(code, { ...base, ...change });

test('a stale connection: again if idempotent, or if nothing was sent', () => {
  for (const code of ['UPSTREAM_CLOSED', 'UPSTREAM_RESET'] as const) {
    assert.equal(decide(code), true);
    assert.equal(decide(code, { idempotent: false }), false);
    assert.equal(decide(code, { idempotent: false, sent: false }), true);
    assert.equal(decide(code, { reused: false }), false);
    assert.equal(decide(code, { reused: false, sent: false }), true);
  }
});

test('never: after a response byte, without the body, beyond the attempts, for the caller', () => {
  assert.equal(decide('UPSTREAM_CLOSED', { responseBytes: 1 }), false);
  assert.equal(decide('UPSTREAM_CLOSED', { bodyReplayable: false }), false);
  assert.equal(decide('UPSTREAM_CLOSED', { attempt: 2 }), false);
  assert.equal(decide('UPSTREAM_CLOSED', { attemptsMax: 1 }), false);
  for (const code of ['ABORTED', 'TOTAL_TIMEOUT', 'REQUEST_INVALID'] as const) {
    assert.equal(decide(code, { sent: false, elsewhere: true }), false, code);
  }
});

test('to another server a refused connection or a missed deadline may be tried again', () => {
  assert.equal(decide('CONNECT_REFUSED', { idempotent: false, sent: false }), false);
  assert.equal(
    decide('CONNECT_REFUSED', { idempotent: false, sent: false, elsewhere: true }),
    true,
  );
  assert.equal(decide('HEAD_TIMEOUT'), false);
  assert.equal(decide('HEAD_TIMEOUT', { elsewhere: true }), true);
  assert.equal(decide('HEAD_TIMEOUT', { elsewhere: true, idempotent: false }), false);
});

test('idempotent methods, in their own case only', () => {
  for (const method of ['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS', 'TRACE']) {
    assert.equal(isIdempotent(method), true, method);
  }
  for (const method of ['POST', 'PATCH', 'CONNECT', 'get', 'QUERYX']) {
    assert.equal(isIdempotent(method), false, method);
  }
});

test('the budget allows a few at first, then its share', () => {
  const budget = new RetryBudget(0.2, 3, 10);
  assert.deepEqual(
    [1, 2, 3, 4].map(() => budget.spend()),
    [true, true, true, false],
  );
  for (let i = 0; i < 10; i++) budget.earn();
  // 10 x 0.2, give or take the rounding of sums of 0.2.
  assert.equal(budget.spend(), true);
  budget.spend();
  assert.equal(budget.spend(), false);
  for (let i = 0; i < 1000; i++) budget.earn();
  let spent = 0;
  while (budget.spend()) spent++;
  assert.equal(spent, 10);
});
