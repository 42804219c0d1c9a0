import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PreparedHead } from './index.ts';

const head = 'HTTP/1.1 200 OK\r\nx-id: abc\r\ncontent-length: 2\r\n\r\n';
const textOf = (prepared: PreparedHead): string => Buffer.from(prepared.bytes).toString('latin1');

test('a value of the same length takes the place of the first', () => {
  const prepared = PreparedHead.of(head, 'x-id', 'abc')!;
  assert.equal(textOf(prepared), head);
  assert.equal(prepared.fits('xyz'), true);
  prepared.fill('xyz');
  assert.equal(textOf(prepared), head.replace('abc', 'xyz'));
});

test('a value of another length does not fit', () => {
  const prepared = PreparedHead.of(head, 'x-id', 'abc')!;
  assert.equal(prepared.fits('abcd'), false);
  assert.equal(prepared.fits(''), false);
});

test('nothing is prepared of a head where the slot is missing, twice or empty, or of a long one', () => {
  assert.equal(PreparedHead.of(head, 'x-other', 'abc'), null);
  assert.equal(PreparedHead.of(head, 'x-id', 'ab'), null);
  assert.equal(PreparedHead.of(head, 'x-id', ''), null);
  const twice = head.replace('\r\n\r\n', '\r\nx-id: abc\r\n\r\n');
  assert.equal(PreparedHead.of(twice, 'x-id', 'abc'), null);
  const before = head.replace('\r\nx-id: ', '\r\nx-id: zzz\r\nx-id: ');
  assert.equal(PreparedHead.of(before, 'x-id', 'abc'), null);
  const long = head.replace('\r\n\r\n', `\r\nx-long: ${'y'.repeat(9000)}\r\n\r\n`);
  assert.equal(PreparedHead.of(long, 'x-id', 'abc'), null);
});
