/**
 * What is read on one connection is written on another: borrowed bytes as they are or in parts, gathered,
 * or kept beyond the read (where the transport lets us), joined or given back while parts of them still
 * wait to be sent to a slow reader. What arrives must be what was sent.
 */
import { transport } from 'onehop/transport';
import { Random } from '../fuzz/random.ts';
import { accept, connect, connectPair, End, inParallel, must, Shared } from './stress-rig.ts';
import { Writer } from './stress-writes.ts';

/** The end that reads from the source. What it reads goes out by the `out` end of another connection. */
class In extends End {
  readonly out: Out;
  /** Reads that are kept, to be passed on later and in order. */
  #kept: Uint8Array[] = [];
  #receivedBytes = 0;
  #isOver = false;

  constructor(random: Random, name: string, own: Shared, peer: Shared, out: Out) {
    super(random, name, own, peer);
    this.out = out;
    out.source = this;
  }

  override data(bytes: Uint8Array): void {
    this.check(bytes, this.#receivedBytes, 'read');
    this.#receivedBytes += bytes.length;
    const { random } = this;
    const mayKeep = this.socket.keepsReads && bytes.length > 1000;
    if (this.#kept.length > 0 || (mayKeep && random.oneIn(3))) {
      this.#keep(bytes);
      return;
    }
    this.#pass(bytes, 0, bytes.length);
  }

  #keep(bytes: Uint8Array): void {
    const isFirst = this.#kept.length === 0;
    if (this.socket.keepsReads) {
      this.socket.keepRead();
      this.#kept.push(bytes);
    } else this.#kept.push(Uint8Array.from(bytes));
    // Not within the call that brought them.
    if (isFirst) setTimeout(() => this.#release(), this.random.below(3));
  }

  #release(): void {
    const { random } = this;
    const kept = this.#kept;
    this.#kept = [];
    if (kept.length > 1 && random.oneIn(2)) {
      const joined = transport.joinReads(kept);
      this.#pass(joined, 0, joined.length);
      transport.dropReads([joined]);
    } else {
      for (const bytes of kept) this.#pass(bytes, 0, bytes.length);
      transport.dropReads(kept);
    }
    if (this.#isOver) this.out.socket.end();
  }

  #pass(bytes: Uint8Array, start: number, end: number): void {
    const { random } = this;
    const { socket } = this.out;
    const middle = random.oneIn(3) ? start + random.below(end - start) : end;
    const isGathered = random.oneIn(4);
    if (isGathered) socket.cork();
    socket.write(bytes, start, middle);
    if (middle < end) socket.write(bytes, middle, end);
    if (isGathered) socket.uncork();
    this.out.own.sentBytes += end - start;
    const { queuedBytes } = socket;
    if (queuedBytes > 0 && random.oneIn(2)) this.socket.pause();
  }

  override end(): void {
    must(this.#receivedBytes === this.peer.sentBytes, `${this.name}: ended too early`);
    this.#isOver = true;
    if (this.#kept.length === 0) this.out.socket.end();
    this.socket.end();
  }
}

class Out extends End {
  source: In | null = null;
  onOpened: (() => void) | null = null;

  override open(): void {
    this.onOpened?.();
  }

  override data(): void {
    must(false, `${this.name}: nothing is sent to it`);
  }

  override drain(): void {
    this.source?.socket.resume();
  }
}

/** Two connections, one behind the other; the last reader is slow. */
async function relay(seed: number, index: number): Promise<void> {
  const random = Random.at(seed, index);
  const shared = Array.from({ length: 4 }, () => new Shared(new Float64Array(2)));
  const [sourceShared, inShared, outShared, sinkShared] = shared as [
    Shared,
    Shared,
    Shared,
    Shared,
  ];
  const source = new Writer(Random.at(seed + 1, index), `source${index}`, sourceShared, inShared);
  const sink = new Writer(Random.at(seed + 2, index), `sink${index}`, sinkShared, outShared);
  const out = new Out(random, `out${index}`, outShared, sinkShared);
  const incoming = new In(random, `in${index}`, inShared, sourceShared, out);
  for (let left = 2 + random.below(25); left > 0; left--) {
    source.plan.push(random.oneIn(4) ? random.below(300) : random.below(200_000));
  }
  sink.pace = random.pick(['fast', 'halting', 'sips'] as const);
  const options = { unix: random.oneIn(5), sendQueueBytesMax: 2 ** 30 };
  let first: Promise<void> | null = null;
  const second = accept(sink, options, (to) => {
    // The way out is open before anything comes in.
    out.onOpened = () => {
      first = connectPair(source, incoming, options);
    };
    void connect(out, options, to);
  });
  await second;
  await first;
}

export async function stressRelay(seed: number, count: number): Promise<void> {
  await inParallel(count, 16, (index) => relay(seed, index));
}
