import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RandomSource, randomUuid, uuidLength, writeUuid } from './uuid.ts';

const shape = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

test('every UUID is a version 4 one and none repeats', () => {
  const source = new RandomSource();
  const seen = new Set<string>();
  for (let i = 0; i < 20_000; i++) {
    const uuid = randomUuid(source);
    assert.match(uuid, shape);
    seen.add(uuid);
  }
  assert.equal(seen.size, 20_000);
});

test('each of the 122 free bits takes both values about equally often', () => {
  const source = new RandomSource(7);
  const ones = new Array<number>(128).fill(0);
  const rounds = 4_000;
  for (let i = 0; i < rounds; i++) {
    const hex = randomUuid(source).replaceAll('-', '');
    for (let nibble = 0; nibble < 32; nibble++) {
      const value = Number.parseInt(hex[nibble]!, 16);
      for (let bit = 0; bit < 4; bit++) if ((value >> bit) & 1) ones[nibble * 4 + bit]!++;
    }
  }
  // Nibble 12 is the version; the two upper bits of nibble 16 are the variant.
  const fixed = new Set([48, 49, 50, 51, 66, 67]);
  for (let bit = 0; bit < 128; bit++) {
    const share = ones[bit]! / rounds;
    if (fixed.has(bit)) assert.ok(share === 0 || share === 1, `bit ${bit}: ${share}`);
    else assert.ok(share > 0.45 && share < 0.55, `bit ${bit}: ${share}`);
  }
});

test('two sources differ unless they are seeded alike', () => {
  assert.equal(randomUuid(new RandomSource(1)), randomUuid(new RandomSource(1)));
  assert.notEqual(randomUuid(new RandomSource(1)), randomUuid(new RandomSource(2)));
  assert.notEqual(randomUuid(new RandomSource()), randomUuid(new RandomSource()));
});

test('writeUuid touches its 36 bytes only', () => {
  const bytes = new Uint8Array(uuidLength + 4).fill(1);
  writeUuid(new RandomSource(3), bytes, 2);
  assert.deepEqual([...bytes.subarray(0, 2), ...bytes.subarray(-2)], [1, 1, 1, 1]);
  assert.match(new TextDecoder().decode(bytes.subarray(2, 2 + uuidLength)), shape);
});
