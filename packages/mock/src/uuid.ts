/**
 * Random UUIDs (RFC 9562 version 4) at a few tens of nanoseconds each, for stand-in answers that
 * must differ from each other. The source is xoshiro128**, seeded once from the system's generator:
 * fine for telling answers apart, never for secrets.
 */
import { webcrypto } from 'node:crypto';

/** Length of a UUID in its text form. */
export const uuidLength = 36;

const high = new Uint8Array(256);
const low = new Uint8Array(256);
for (let byte = 0; byte < 256; byte++) {
  const text = byte.toString(16).padStart(2, '0');
  high[byte] = text.charCodeAt(0);
  low[byte] = text.charCodeAt(1);
}

/** A pseudo-random generator with 128 bits of state. */
export class RandomSource {
  #a: number;
  #b: number;
  #c: number;
  #d: number;

  /** Without `seed` the state comes from the system; with it the sequence is reproducible. */
  constructor(seed?: number) {
    const state = new Uint32Array(4);
    if (seed === undefined) {
      webcrypto.getRandomValues(state);
    } else {
      // splitmix32 spreads one number over the four words.
      let word = seed | 0;
      for (let i = 0; i < 4; i++) {
        word = (word + 0x9e3779b9) | 0;
        let mixed = Math.imul(word ^ (word >>> 16), 0x21f0aaad);
        mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
        state[i] = mixed ^ (mixed >>> 15);
      }
    }
    this.#a = state[0]! | 0;
    this.#b = state[1]! | 0;
    this.#c = state[2]! | 0;
    this.#d = state[3]! | 1; // never the all-zero state
  }

  /** The next 32 random bits, as a signed integer. */
  nextInt(): number {
    const scrambled = Math.imul(this.#b, 5);
    const result = Math.imul((scrambled << 7) | (scrambled >>> 25), 9);
    const shifted = this.#b << 9;
    this.#c ^= this.#a;
    this.#d ^= this.#b;
    this.#b ^= this.#c;
    this.#a ^= this.#d;
    this.#c ^= shifted;
    this.#d = (this.#d << 11) | (this.#d >>> 21);
    return result;
  }

  /** Uniform in [0, 1). */
  nextUnit(): number {
    return (this.nextInt() >>> 0) / 0x1_0000_0000;
  }
}

/** Writes a version 4 UUID in lower case into `bytes` from `at` on. */
export function writeUuid(source: RandomSource, bytes: Uint8Array, at: number): void {
  let p = at;
  for (let word = 0; word < 4; word++) {
    let bits = source.nextInt();
    if (word === 1) bits = (bits & 0xff0fffff) | 0x00400000 | 0;
    if (word === 2) bits = (bits & 0xffffff3f) | 0x00000080;
    for (let i = 0; i < 4; i++) {
      // Bytes leave lowest first; a dash stands before bytes 4, 6, 8 and 10.
      if (i === 0 ? word === 1 || word === 2 : i === 2 && (word === 1 || word === 2)) {
        bytes[p++] = 0x2d;
      }
      const byte = (bits >>> (i << 3)) & 0xff;
      bytes[p++] = high[byte]!;
      bytes[p++] = low[byte]!;
    }
  }
}

const scratch = new Uint8Array(uuidLength);
const decoder = new TextDecoder('latin1');

/** A version 4 UUID as a string. */
export function randomUuid(source: RandomSource): string {
  writeUuid(source, scratch, 0);
  return decoder.decode(scratch);
}
