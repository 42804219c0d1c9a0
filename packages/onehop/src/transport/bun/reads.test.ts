import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dropReads, freedBytesMin, giveBackRead, partLeft, partQueued } from './reads.ts';

const options = {
  skip: process.versions['bun'] === undefined ? 'memory is freed by hand on Bun only' : false,
};
const read = (): Uint8Array => new Uint8Array(freedBytesMin * 4).fill(7);

test('a long read that nobody holds is freed at once', options, () => {
  const bytes = read();
  giveBackRead(bytes);
  assert.equal(bytes.length, 0);
});

test('a read of which parts wait in send queues is freed with the last of them', options, () => {
  const bytes = read();
  const [one, other] = [bytes.subarray(1), bytes.subarray(freedBytesMin * 3)];
  partQueued(one);
  partQueued(other);
  giveBackRead(bytes);
  assert.equal(one[0], 7);
  partLeft(one);
  assert.equal(other[0], 7);
  partLeft(other);
  assert.equal(bytes.length, 0);
});

test('what was sent before its reader is through is freed by the reader', options, () => {
  const bytes = read();
  const part = bytes.subarray(10);
  partQueued(part);
  partLeft(part);
  assert.equal(bytes[0], 7);
  dropReads([bytes]);
  assert.equal(bytes.length, 0);
});

test('bytes that are no read are never freed', options, () => {
  const bytes = read();
  partQueued(bytes);
  partLeft(bytes);
  assert.equal(bytes[0], 7);
});

test('a read that is given back twice is freed once', options, () => {
  const bytes = read();
  giveBackRead(bytes);
  giveBackRead(bytes);
  assert.equal(bytes.length, 0);
});
