import assert from 'node:assert/strict';
import { test } from 'node:test';
import { transport } from '../transport/index.ts';
import { KeptBody } from './kept-body.ts';
import { ScanBudget } from './scan-budget.ts';

const budget = (): ScanBudget =>
  new ScanBudget({ scanBytesMax: 0, scansBytesMax: 2 ** 40, requestBodyGraceMs: 0 }, transport);

test('a body in tiny pieces costs many times its length', () => {
  const scans = budget();
  const kept = new KeptBody(scans);
  const piece = Uint8Array.of(7);
  for (let i = 0; i < 300_000; i++) {
    const before = kept.heldBytes;
    const growth = kept.growth(1);
    kept.add(piece, 0, 1);
    assert.equal(kept.heldBytes, before + growth, 'more was taken than was asked for');
  }
  assert.equal(kept.heldBytes, scans.bytes);
  assert.ok(kept.heldBytes <= 2 * 300_000, `${kept.heldBytes} for 300,000 bytes`);
  let blocks = 0;
  let bytes = 0;
  for (let block = kept.shift(); block !== null; block = kept.shift()) {
    blocks++;
    bytes += block.length;
    assert.ok(block.every((byte) => byte === 7));
  }
  assert.equal(bytes, 300_000);
  assert.ok(blocks < 20, `${blocks} blocks`);
  assert.equal(scans.bytes, 0);
});

test('bytes come out as they went in, and all that was counted is given back, whatever the order', () => {
  let seed = 1;
  const random = (below: number): number => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
  for (let round = 0; round < 300; round++) {
    const scans = budget();
    const kept = new KeptBody(scans);
    const expected: number[] = [];
    const got: number[] = [];
    const take = (block: Uint8Array | null): void => {
      for (const byte of block ?? []) got.push(byte);
    };
    for (let step = random(30); step > 0; step--) {
      const piece = Uint8Array.from({ length: 1 + random(random(4) === 0 ? 100_000 : 3000) }, () =>
        random(256),
      );
      const start = random(piece.length);
      const end = start + random(piece.length - start + 1);
      const kind = random(10);
      if (kind < 6) kept.add(piece, start, end);
      else if (kind < 8) {
        kept.lend(piece, start, end);
        if (random(2) === 0) while (kept.bytes > 0) take(kept.shift());
        kept.settle();
      } else {
        take(kept.shift());
        continue;
      }
      expected.push(...piece.subarray(start, end));
      // What was borrowed is used for something else.
      piece.fill(0);
      assert.equal(kept.bytes + got.length, expected.length);
      assert.ok(kept.heldBytes >= kept.bytes, 'less is counted than is held');
      assert.equal(scans.bytes, kept.heldBytes);
    }
    if (round % 3 === 0) kept.drop();
    else {
      if (round % 3 === 1) take(kept.join());
      else while (kept.bytes > 0) take(kept.shift());
      assert.deepEqual(got, expected);
    }
    assert.equal(kept.bytes, 0);
    if (round % 3 !== 2) assert.equal(scans.bytes, 0);
    kept.drop();
    assert.equal(scans.bytes, 0);
  }
});
