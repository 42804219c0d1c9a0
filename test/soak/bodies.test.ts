/** Long bodies for a short time, on the runtime that runs this; `npm run soak:bodies` takes ten minutes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ownRuntime } from '../support/serve-process.ts';
import { runBodies } from './bodies.ts';
import { BodyCheck, bodyPiece } from './bodies-pattern.ts';
import { describeBodies, judgeBodies } from './bodies-report.ts';

test('lost, doubled, swapped and stale bytes of a body are seen at any offset', () => {
  const [key, size, at, length] = [12_345, 5_000_000, 1_234_567, 65_536];
  const piece = (from: number, bytes: number, ofKey = key): Buffer =>
    Buffer.concat(
      Array.from({ length: Math.ceil(bytes / length) }, (_, index) =>
        bodyPiece(ofKey, from + index * length, Math.min(length, bytes - index * length)),
      ),
    );
  const check = (...pieces: Buffer[]): string | null => {
    const body = new BodyCheck(key, size);
    for (const each of pieces) body.take(each);
    return body.fault;
  };
  const before = piece(0, at);
  const here = piece(at, length);
  const after = piece(at + length, size - at - length);
  assert.equal(check(before, here, after), null);
  assert.match(check(before, after)!, /wrong bytes in the piece at 1234567/);
  assert.match(check(before, here, here, after)!, /wrong bytes/);
  assert.match(check(before, after.subarray(0, 10), here, after.subarray(10))!, /wrong bytes/);
  assert.match(check(before, piece(at, length, key + 1), after)!, /wrong bytes/);
  assert.match(check(before, here)!, /1300103 bytes of 5000000/);
});

test('long bodies up and down, slow and fast, abort no process and arrive byte for byte', {
  skip: process.platform === 'linux' ? false : 'reads /proc',
}, async () => {
  const result = await runBodies({
    durationMs: 30_000,
    sampleEveryMs: 1000,
    clientRounds: 2,
    runtime: ownRuntime,
    executable: process.execPath,
  });
  assert.deepEqual(judgeBodies(result, 400), [], describeBodies(result));
});
