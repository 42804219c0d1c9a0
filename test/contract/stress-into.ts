/**
 * One end fills buffer after buffer of random length, most of them read straight into (`readInto`), asked
 * for within `data` or later, sometimes another one while a read is under way; the other end writes in
 * pieces of every length. Bytes around a buffer are nobody's and must stay as they are, and so must each
 * buffer once it is full: it is handed over then, to somebody who may do with it what he likes.
 */
import { transport } from 'onehop/transport';
import { Random } from '../fuzz/random.ts';
import { connectPair, End, fill, inParallel, isRight, later, must, Shared } from './stress-rig.ts';
import { Writer } from './stress-writes.ts';

const marginBytes = 64;
const canary = 0xc5;

/** A buffer to be filled, with bytes on both sides that must not be touched. */
class Target {
  readonly #around: Buffer;
  readonly bytes: Buffer;
  readonly position: number;
  filledBytes = 0;

  constructor(length: number, position: number) {
    this.#around = Buffer.alloc(length + 2 * marginBytes, canary);
    this.bytes = this.#around.subarray(marginBytes, marginBytes + length);
    this.position = position;
  }

  get isRight(): boolean {
    const margins = [this.#around.subarray(0, marginBytes), this.#around.subarray(-marginBytes)];
    return (
      isRight(this.bytes.subarray(0, this.filledBytes), this.position) &&
      margins.every((margin) => margin.every((byte) => byte === canary))
    );
  }
}

class Filler extends End {
  readonly #done: Target[] = [];
  #target: Target;
  #takenBytes = 0;
  /** Where the last asked for reads would go is known to the socket only until something else comes. */
  #isAsked = false;
  rudeAtBytes = Number.POSITIVE_INFINITY;
  inPlaceBytes = 0;

  constructor(random: Random, name: string, own: Shared, peer: Shared) {
    super(random, name, own, peer);
    this.#target = this.#next();
  }

  #next(): Target {
    const { random } = this;
    const length = random.oneIn(3) ? 1 + random.below(300) : 1 + random.below(150_000);
    return new Target(length, this.#takenBytes);
  }

  override open(): void {
    if (this.random.oneIn(2)) this.#ask();
  }

  override data(bytes: Uint8Array): void {
    this.check(bytes, this.#takenBytes, 'read');
    let taken = 0;
    while (taken < bytes.length) taken += this.#take(bytes, taken);
    const { random } = this;
    if (!this.#isAsked && !random.oneIn(4)) {
      if (random.oneIn(2)) this.#ask();
      else later(random, () => this.#ask());
    }
    if (random.oneIn(12)) {
      this.socket.pause();
      later(random, () => this.socket.resume());
    }
    if (this.#takenBytes >= this.rudeAtBytes && !this.own.wasRude) {
      this.own.wasRude = true;
      if (random.oneIn(2)) this.socket.destroy(random.oneIn(2));
      else later(random, () => this.socket.destroy(random.oneIn(2)));
    }
  }

  /** Takes of `bytes`, from `from` on, what belongs to the target. */
  #take(bytes: Uint8Array, from: number): number {
    const target = this.#target;
    const at = target.filledBytes;
    const length = Math.min(bytes.length - from, target.bytes.length - at);
    const isInPlace =
      bytes.buffer === target.bytes.buffer &&
      bytes.byteOffset + from === target.bytes.byteOffset + at;
    if (isInPlace) this.inPlaceBytes += length;
    else {
      target.bytes.set(bytes.subarray(from, from + length), at);
      // It lay elsewhere: the caller asks again, or asks no more.
      this.#isAsked = false;
    }
    target.filledBytes += length;
    this.#takenBytes += length;
    if (target.filledBytes === target.bytes.length) {
      must(target.isRight, `${this.name}: a buffer is not what was sent, or what is around it`);
      this.#done.push(target);
      this.#target = this.#next();
      this.#isAsked = false;
    }
    return length;
  }

  #ask(): void {
    if (this.closed || this.own.wasRude) return;
    const { random } = this;
    const before = this.#target;
    // The reads under way may still go to the one before: that is given up, with what it has copied.
    if (random.oneIn(6)) {
      const other = new Target(before.bytes.length + random.below(5000), before.position);
      fill(other.bytes.subarray(0, before.filledBytes), before.position);
      other.filledBytes = before.filledBytes;
      this.#target = other;
    }
    const { bytes, filledBytes } = this.#target;
    this.#isAsked = this.socket.readInto(bytes, filledBytes);
  }

  override end(): void {
    if (!this.peer.wasRude) {
      must(this.#takenBytes === this.peer.sentBytes, `${this.name}: ended too early`);
    }
    this.socket.end();
  }

  override close(): void {
    const isOver = this.own.wasRude || this.peer.wasRude;
    must(isOver || this.error === null, `${this.name}: failed with ${this.error?.message}`);
  }

  /** Nothing was written to what is full, or given up when the connection ended. */
  checkAll(): void {
    for (const target of [...this.#done, this.#target]) {
      must(target.isRight, `${this.name}: a buffer was changed behind its end`);
    }
  }
}

/** `count` connections; resolves to how many bytes were read straight into place. */
export async function stressInto(seed: number, count: number): Promise<number> {
  const fillers: Filler[] = [];
  let inPlaceBytes = 0;
  await inParallel(count, 24, async (index) => {
    const random = Random.at(seed, index);
    const own = new Shared(new Float64Array(2));
    const peer = new Shared(new Float64Array(2));
    const client = new Filler(random, `c${index}`, own, peer);
    const server = new Writer(Random.at(seed + 1, index), `s${index}`, peer, own);
    for (let left = 1 + random.below(30); left > 0; left--) server.plan.push(random.below(150_000));
    if (random.oneIn(4)) client.rudeAtBytes = random.below(500_000);
    if (random.oneIn(8)) server.rudeAfterPieces = random.below(server.plan.length);
    await connectPair(client, server, { unix: random.oneIn(5), sendQueueBytesMax: 2 ** 30 });
    client.checkAll();
    inPlaceBytes += client.inPlaceBytes;
    // Some are kept to the end, while others read into memory that may have been theirs.
    if (random.oneIn(3)) fillers.push(client);
  });
  for (const filler of fillers) filler.checkAll();
  const reads = transport.name === 'node' && process.platform !== 'win32';
  must(!reads || inPlaceBytes > 0, 'nothing was read into place');
  return inPlaceBytes;
}
