/**
 * Both ends of many connections write in pieces of every size: whole, in text, gathered, from within
 * callbacks and from outside, while the other end reads fast, in sips or not at all. Bytes that are no
 * longer the transport's are written over at once.
 */
import { parentPort, type Worker } from 'node:worker_threads';
import { type Socket, WriteStatus } from 'onehop/transport';
import { Random } from '../fuzz/random.ts';
import {
  accept,
  connect,
  connectPair,
  End,
  fill,
  inParallel,
  isLentUntouched,
  later,
  lent,
  lentBytesMax,
  must,
  type PairOptions,
  Shared,
  sharedSlots,
} from './stress-rig.ts';

const kilobyte = 1024;
const sizes = [
  0,
  1,
  2,
  100,
  4 * kilobyte,
  ...[16, 64, 80].flatMap((each) => [-1, 0, 1].map((off) => each * kilobyte + off)),
  128 * kilobyte,
  300_000,
];
export const hugeBytes = 100 * 1024 * 1024;

/** How an end reads: at once, holding up now and then, or holding up after nearly every read. */
export type Pace = 'fast' | 'halting' | 'sips';

export class Writer extends End {
  readonly plan: number[] = [];
  pace: Pace = 'fast';
  /** Having received so many bytes it does something rude. */
  rudeAtBytes = Number.POSITIVE_INFINITY;
  /** The same, having written so many pieces. */
  rudeAfterPieces = Number.POSITIVE_INFINITY;
  #pieces = 0;
  receivedBytes = 0;
  peerEnded = false;
  #finished = false;
  #awaitsDrain = false;
  #scheduled = false;
  /** Of writes that were queued: not ours before `drain`. */
  #queued: Buffer[] = [];

  override open(): void {
    if (this.random.oneIn(3)) this.schedule();
    else this.act();
  }

  override data(bytes: Uint8Array): void {
    this.check(bytes, this.receivedBytes, 'read');
    this.receivedBytes += bytes.length;
    if (this.receivedBytes >= this.rudeAtBytes) this.beRude();
    const { random } = this;
    if (random.oneIn(3)) this.act();
    const halts = this.pace === 'sips' ? 2 : 20;
    if (this.pace !== 'fast' && random.oneIn(halts)) {
      this.socket.pause();
      if (random.oneIn(5)) this.socket.resume();
      else later(random, () => this.socket.resume());
    }
  }

  override drain(): void {
    must(this.#awaitsDrain, `${this.name}: a drain that nobody waits for`);
    this.#awaitsDrain = false;
    for (const bytes of this.#queued) bytes.fill(0xee);
    this.#queued = [];
    this.act();
  }

  override end(): void {
    this.peerEnded = true;
    if (!this.peer.wasRude) {
      must(this.receivedBytes === this.peer.sentBytes, `${this.name}: ended too early`);
    }
    // Nobody ends it for us; and a rude peer's end is ours, too.
    if (this.own.wasRude || this.peer.wasRude) this.socket.end();
  }

  override close(): void {
    const isOver = this.own.wasRude || this.peer.wasRude;
    must(isOver || this.error === null, `${this.name}: failed with ${this.error?.message}`);
    must(isOver || (this.#finished && this.peerEnded), `${this.name}: closed before its end`);
    const { socket } = this;
    must(
      socket.writeLatin1('x') === WriteStatus.Closed,
      `${this.name}: written to behind its close`,
    );
    must(socket.queuedBytes === 0, `${this.name}: ${socket.queuedBytes} bytes queued when closed`);
  }

  schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    later(this.random, () => {
      this.#scheduled = false;
      this.act();
    });
  }

  /** Writes some of what is to be written; ends behind the last of it. */
  act(): void {
    const { random } = this;
    while (!this.closed && !this.#finished) {
      if (this.#pieces++ >= this.rudeAfterPieces) {
        this.#finished = true;
        this.beRude();
        return;
      }
      const size = this.plan.shift();
      if (size === undefined) {
        this.#finished = true;
        this.socket.end();
        return;
      }
      const status = this.#write(size);
      if (status === WriteStatus.Closed) {
        this.#finished = true;
        return;
      }
      if (status === WriteStatus.Queued) this.#awaitsDrain = true;
      const { queuedBytes } = this.socket;
      must(queuedBytes >= 0, `${this.name}: ${queuedBytes} bytes queued`);
      // Mostly it waits; but who writes into a queue that is not empty must get its order right, too.
      if (this.#awaitsDrain && !random.oneIn(4)) return;
      if (random.oneIn(6)) {
        this.schedule();
        return;
      }
    }
  }

  #write(size: number): WriteStatus {
    const { random } = this;
    if (size <= 400_000 && random.oneIn(4)) return this.#writeGathered(size);
    return this.#writePiece(size);
  }

  #writePiece(size: number): WriteStatus {
    const { random, socket } = this;
    const at = this.own.sentBytes;
    this.own.sentBytes += size;
    if (size <= 400_000 && random.oneIn(3)) {
      return socket.writeLatin1(lent(at, size).toString('latin1'));
    }
    if (size <= lentBytesMax && random.oneIn(3)) {
      const bytes = lent(at, size);
      return socket.write(bytes, 0, bytes.length);
    }
    const margin = random.below(3);
    const bytes = Buffer.allocUnsafeSlow(size + 2 * margin);
    fill(bytes.subarray(margin, margin + size), at);
    const status = socket.write(bytes, margin, margin + size);
    if (status !== WriteStatus.Queued) bytes.fill(0xee);
    // Without a reference, what is still queued is the transport's to keep alive.
    else if (random.oneIn(2)) this.#queued.push(bytes);
    return status;
  }

  #writeGathered(size: number): WriteStatus {
    const { random, socket } = this;
    socket.cork();
    let left = size;
    let queued = false;
    while (left > 0) {
      const part = Math.min(left, 1 + random.below(random.oneIn(3) ? 70_000 : 9_000));
      left -= part;
      if (this.#writePiece(part) === WriteStatus.Queued) queued = true;
    }
    const status = socket.uncork();
    return status === WriteStatus.Flushed && queued ? WriteStatus.Queued : status;
  }

  beRude(): void {
    if (this.own.wasRude) return;
    this.own.wasRude = true;
    rudely(this.socket, this.random);
  }
}

/** Ends or drops it, sometimes one after the other. */
function rudely(socket: Socket<End>, random: Random): void {
  if (random.oneIn(3)) socket.end();
  if (random.oneIn(4)) socket.pause();
  const drop = (): void => socket.destroy(random.oneIn(2));
  if (random.oneIn(2)) drop();
  else later(random, drop);
}

function plan(end: Writer, bytesMax: number): void {
  const { random } = end;
  let bytes = 0;
  for (let left = random.below(60); left > 0; left--) {
    const size = random.oneIn(3) ? random.below(200_000) : random.pick(sizes);
    bytes += size;
    if (bytes > bytesMax) break;
    end.plan.push(size);
  }
  if (random.oneIn(10)) end.plan.push(1024 * 1024 + random.below(3) - 1);
}

/** Both ends of connection `index`; the same in every thread that makes them from the same `slots`. */
function ends(
  seed: number,
  index: number,
  slots: Float64Array,
): { client: Writer; server: Writer; options: PairOptions } {
  const random = Random.at(seed, index);
  const [own, peer] = [0, 1].map((side) => {
    const at = (2 * index + side) * sharedSlots;
    return new Shared(slots.subarray(at, at + sharedSlots));
  }) as [Shared, Shared];
  const client = new Writer(Random.at(seed + 1, index), `c${index}`, own, peer);
  const server = new Writer(Random.at(seed + 2, index), `s${index}`, peer, own);
  for (const end of [client, server]) {
    end.pace = random.pick(paces);
    if (!random.oneIn(4)) plan(end, 2_000_000);
    if (random.oneIn(6)) end.rudeAtBytes = 1 + random.below(600_000);
  }
  // Room for all of a plan: back-pressure is not always heeded here.
  return { client, server, options: { unix: random.oneIn(5), sendQueueBytesMax: 2 * hugeBytes } };
}

const paces: Pace[] = ['fast', 'fast', 'halting', 'sips'];
const atOnce = 24;

export const slotsFor = (count: number): SharedArrayBuffer =>
  new SharedArrayBuffer(count * 2 * sharedSlots * Float64Array.BYTES_PER_ELEMENT);

/** `count` connections of which both ends are here. */
export async function stressWrites(seed: number, count: number): Promise<void> {
  const slots = new Float64Array(slotsFor(count));
  await inParallel(count, atOnce, (index) => {
    const { client, server, options } = ends(seed, index, slots);
    return connectPair(client, server, options);
  });
}

/** One connection that carries a piece of 100 MB. */
export async function stressHuge(seed: number): Promise<void> {
  const { client, server } = ends(seed, 0, new Float64Array(slotsFor(1)));
  for (const end of [client, server]) end.rudeAtBytes = Number.POSITIVE_INFINITY;
  client.plan.unshift(hugeBytes);
  server.pace = 'halting';
  await connectPair(client, server, { sendQueueBytesMax: 2 * hugeBytes });
}

export interface Apart {
  seed: number;
  count: number;
  slots: SharedArrayBuffer;
}

type Where = { index: number; to: { port: number } | { path: string } };

/**
 * The accepting half of `count` connections, in a thread of its own: it reads while the other one is
 * within a system call, so that a write that is taken in part can be finished within the same call.
 */
export async function stressAccepting({ seed, count, slots }: Apart): Promise<void> {
  await inParallel(count, atOnce, (index) => {
    const { server, options } = ends(seed, index, new Float64Array(slots));
    return accept(server, options, (to) => parentPort!.postMessage({ index, to } satisfies Where));
  });
  must(isLentUntouched(), 'bytes that were only lent for writing were changed');
}

/** The connecting half; `worker` runs the other one. */
export async function stressConnecting(apart: Apart, worker: Worker): Promise<void> {
  const { seed, count, slots } = apart;
  let left = count;
  const over = new Promise<void>((resolve, reject) => {
    worker.once('error', reject);
    worker.on('message', ({ index, to }: Where) => {
      const { client, options } = ends(seed, index, new Float64Array(slots));
      connect(client, options, to).then(() => {
        if (--left === 0) resolve();
      }, reject);
    });
  });
  const ended = new Promise<void>((resolve, reject) => {
    worker.once('exit', (code) => (code === 0 ? resolve() : reject(new Error(`exit ${code}`))));
  });
  await Promise.all([over, ended]);
}
