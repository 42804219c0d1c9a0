/** The reader by itself, fed by hand: what it keeps of borrowed bytes, and in how much memory. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BodyReader } from './body-reader.ts';

/** Bytes as a connection lends them: written over as soon as the call is over. */
function feed(reader: BodyReader, length: number, value: number): void {
  const lent = Buffer.alloc(length, value);
  reader.onBody(lent, 0, length);
  lent.fill(0xff);
}

const isAll = (bytes: Uint8Array, value: number): boolean => bytes.every((each) => each === value);

test('bodies that are collected at once, early or late, do not mix', async () => {
  const readers = [1, 2, 3, 4, 5, 6].map((value) => ({
    reader: new BodyReader(null, 200_000),
    value,
  }));
  const collected = readers.map(({ reader, value }) => {
    feed(reader, 60_000, value);
    // Every second one is asked for before the next begins.
    return value % 2 === 0 ? reader.collect(1_000_000) : null;
  });
  for (const [i, { reader, value }] of readers.entries()) {
    const promise = collected[i] ?? reader.collect(1_000_000);
    feed(reader, 140_000, value);
    reader.onEnd();
    await promise;
    const body = reader.whole();
    assert.equal(body.length, 200_000);
    assert.ok(isAll(body, value), `body ${value}`);
  }
});

test('a piece that was handed out is the caller’s, whatever comes later', async () => {
  const first = new BodyReader(null, 1_000_000);
  feed(first, 64_000, 1);
  const piece = (await first.next())!;
  for (let value = 2; value < 9; value++) {
    const other = new BodyReader(null, 200_000);
    feed(other, 64_000, value);
    const promise = other.collect(1_000_000);
    feed(other, 136_000, value);
    other.onEnd();
    await promise;
    assert.ok(isAll(other.whole(), value));
  }
  assert.equal(piece.length, 64_000);
  assert.ok(isAll(piece, 1));
});

test('whoever reads piece by piece holds no more than twice what was read', async () => {
  for (const announced of [-1, 1_000_000, 100_000_000]) {
    const reader = new BodyReader(null, announced);
    let holds = 0;
    let read = 0;
    for (const length of [5_000, 30_000, 45_000, 64_000, 81_000]) {
      feed(reader, length, 7);
      const piece = (await reader.next())!;
      assert.equal(piece.length, length);
      read += length;
      holds += piece.buffer.byteLength;
    }
    assert.ok(holds <= 2 * read, `${holds} bytes for ${read}, announced ${announced}`);
    reader.discard();
  }
});

test('a body of some length that is there at once lies in a buffer of its own', () => {
  const reader = new BodyReader(null, 65_536);
  feed(reader, 65_536, 3);
  reader.onEnd();
  const body = reader.whole();
  assert.ok(isAll(body, 3));
  assert.equal(body.buffer.byteLength, 65_536);
});
