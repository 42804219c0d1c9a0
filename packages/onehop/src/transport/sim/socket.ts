import { type OnehopError, RingQueue } from '../../core/index.ts';
import { queueFullError, socketError } from '../errors.ts';
import { type Socket, type SocketHandlers, WriteStatus } from '../types.ts';
import type { SimNetwork } from './network.ts';

/** The bytes being shown to a `data` handler right now; they are spoiled when it returns. */
let lentBytes: Uint8Array | null = null;

/** One direction of a connection: what the kernels hold between a writer and its reader. */
class Pipe {
  readonly capacity: number;
  chunks = new RingQueue<Uint8Array>();
  bytes = 0;
  fin = false;
  scheduled = false;

  constructor(capacity: number) {
    this.capacity = capacity;
  }

  /** Takes `length` bytes from the front into a buffer of their own. */
  take(length: number): Uint8Array {
    const taken = Buffer.allocUnsafeSlow(length);
    let at = 0;
    while (at < length) {
      const chunk = this.chunks.peek()!;
      const part = Math.min(chunk.length, length - at);
      taken.set(chunk.subarray(0, part), at);
      at += part;
      if (part === chunk.length) this.chunks.shift();
      else this.chunks.replaceFirst(chunk.subarray(part));
    }
    this.bytes -= length;
    return taken;
  }
}

export class SimSocket<State> implements Socket<State> {
  state: State;
  alpnProtocol = '';
  remoteAddress = '';
  readonly keepsReads = false;
  readonly #network: SimNetwork;
  readonly #handlers: SocketHandlers<State>;
  readonly #target: string;
  readonly #queueBytesMax: number;
  readonly #incoming: Pipe;
  #peer: SimSocket<unknown> | null = null;
  #opened = false;
  #paused = false;
  #shut = false;
  #destroyed = false;
  #closed = false;
  #gone = false;
  #finSent = false;
  #endSeen = false;
  #silent = false;
  #into: Uint8Array | null = null;
  #intoAt = 0;
  #corked: Uint8Array[] | null = null;
  #queue = new RingQueue<Uint8Array>();
  #queuedBytes = 0;

  constructor(
    network: SimNetwork,
    handlers: SocketHandlers<State>,
    state: State,
    target: string,
    queueBytesMax: number,
  ) {
    this.#network = network;
    this.#handlers = handlers;
    this.state = state;
    this.#target = target;
    this.#queueBytesMax = queueBytesMax;
    const { random, options } = network;
    this.#incoming = new Pipe(
      random.between(Math.min(512, options.kernelBytesMax), options.kernelBytesMax),
    );
  }

  get queuedBytes(): number {
    let corked = 0;
    for (const chunk of this.#corked ?? []) corked += chunk.length;
    return this.#queuedBytes + corked;
  }

  /** Whether `close` has been delivered. */
  get closed(): boolean {
    return this.#closed;
  }

  keepRead(): void {}

  /** TLS is not simulated: the handshake takes a while, and that is all. */
  startTls(): void {
    if (this.#shut) return;
    this.#opened = false;
    this.#network.later(() => this.onOpen());
  }

  write(bytes: Uint8Array, start: number, end: number): WriteStatus {
    if (this.#shut || !this.#opened) return WriteStatus.Closed;
    const chunk = bytes.subarray(start, end);
    if (this.#corked === null) return this.#send(chunk);
    this.#corked.push(Uint8Array.from(chunk));
    return WriteStatus.Flushed;
  }

  writeLatin1(text: string): WriteStatus {
    return this.write(Buffer.from(text, 'latin1'), 0, text.length);
  }

  cork(): void {
    this.#corked ??= [];
  }

  uncork(): WriteStatus {
    const chunks = this.#corked ?? [];
    this.#corked = null;
    if (this.#shut || !this.#opened) return WriteStatus.Closed;
    return this.#send(Buffer.concat(chunks));
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#scheduleRead();
  }

  readInto(bytes: Uint8Array, start: number): boolean {
    this.#into = start < bytes.length ? bytes : null;
    this.#intoAt = start;
    return true;
  }

  end(): void {
    if (this.#shut) return;
    if (!this.#opened) {
      this.destroy();
      return;
    }
    if (this.#corked !== null) this.uncork();
    this.#shut = true;
    if (this.#queuedBytes === 0) this.#sendFin();
  }

  destroy(reset = false): void {
    if (this.#destroyed) return;
    // A kernel answers with RST when unread bytes are thrown away, asked to or not.
    const rude = reset || this.#incoming.bytes > 0;
    this.#release();
    this.#network.later(() => this.#close(null));
    const peer = this.#peer;
    if (peer === null || this.#silent) return;
    if (rude) this.#network.later(() => peer.onReset('connection reset by peer'));
    else this.#sendFin();
  }

  ref(): void {}

  unref(): void {}

  // For the network only, from here on.

  join(peer: SimSocket<unknown>, address: string, alpn: string): void {
    this.#peer = peer;
    this.remoteAddress = address;
    this.alpnProtocol = alpn;
  }

  onOpen(): void {
    if (this.#destroyed) return;
    this.#opened = true;
    this.#handlers.open(this);
    this.#scheduleRead();
  }

  /** Whether the caller gave up while connecting. */
  get abandoned(): boolean {
    return this.#destroyed;
  }

  onConnectFailed(error: OnehopError): void {
    if (this.#destroyed) return;
    this.#release();
    this.#close(error);
  }

  onReset(reason: string): void {
    if (this.#destroyed) return;
    this.#release();
    this.#close(socketError(new Error(reason), this.#target));
  }

  /** From now on nothing arrives and nothing leaves, and nobody is told. */
  silence(): void {
    this.#silent = true;
  }

  onEvent(): void {
    const pipe = this.#incoming;
    pipe.scheduled = false;
    const { random, options } = this.#network;
    if (this.#destroyed || this.#silent || !this.#opened) return;
    if (random.chance(options.dropChance)) {
      this.silence();
      this.#peer?.silence();
      return;
    }
    if (random.chance(options.resetChance)) {
      this.#network.breakConnection(this as SimSocket<unknown>, this.#peer!);
      return;
    }
    if (this.#paused) return;
    if (pipe.bytes > 0) this.#deliver(pipe);
    else if (pipe.fin && !this.#endSeen) {
      this.#endSeen = true;
      this.#handlers.end(this);
      this.#closeIfDone();
    }
    this.#scheduleRead();
  }

  /** The writer's side of {@link Pipe}: room has come free. */
  onRoom(): void {
    if (this.#destroyed || this.#queuedBytes === 0) return;
    while (this.#queuedBytes > 0) {
      const chunk = this.#queue.peek()!;
      const taken = this.#offer(chunk);
      this.#queuedBytes -= taken;
      if (taken < chunk.length) {
        this.#queue.replaceFirst(chunk.subarray(taken));
        return;
      }
      this.#queue.shift();
    }
    if (this.#shut) this.#sendFin();
    this.#handlers.drain(this);
  }

  get peer(): SimSocket<unknown> | null {
    return this.#peer;
  }

  #deliver(pipe: Pipe): void {
    const { random, options } = this.#network;
    const most = Math.min(pipe.bytes, options.readBytesMax);
    const length = random.chance(options.splitChance) ? random.between(1, most) : most;
    const peer = this.#peer!;
    if (!peer.#destroyed) this.#network.later(() => peer.onRoom());
    // Like a runtime, which reads elsewhere what was under way when it was asked.
    if (this.#into !== null && random.chance(0.7)) {
      this.#deliverInto(pipe, this.#into, length);
      return;
    }
    // What comes lies elsewhere: asked again within the call, or not at all.
    this.#into = null;
    const bytes = pipe.take(length);
    const outer = lentBytes;
    lentBytes = bytes;
    try {
      this.#handlers.data(this, bytes);
    } finally {
      lentBytes = outer;
      // Whoever kept a view against the contract reads this.
      bytes.fill(0xdd);
    }
  }

  #deliverInto(pipe: Pipe, into: Uint8Array, length: number): void {
    const start = this.#intoAt;
    const bytes = pipe.take(Math.min(length, into.length - start));
    into.set(bytes, start);
    this.#intoAt += bytes.length;
    if (this.#intoAt === into.length) this.#into = null;
    this.#handlers.data(this, into.subarray(start, start + bytes.length));
  }

  #send(chunk: Uint8Array): WriteStatus {
    if (chunk.length === 0) return this.#queuedBytes > 0 ? WriteStatus.Queued : WriteStatus.Flushed;
    const taken = this.#queuedBytes > 0 ? 0 : this.#offer(chunk);
    if (taken === chunk.length) return WriteStatus.Flushed;
    const queuedBytes = this.#queuedBytes + chunk.length - taken;
    if (this.#queuedBytes > 0 && queuedBytes > this.#queueBytesMax) {
      this.#overflow(queuedBytes);
      return WriteStatus.Closed;
    }
    const rest = chunk.subarray(taken);
    // Not copied unless lent: a writer that overwrites what it queued corrupts the stream, visibly.
    this.#queue.push(rest.buffer === lentBytes?.buffer ? Uint8Array.from(rest) : rest);
    this.#queuedBytes = queuedBytes;
    if (taken > 0 || this.#queue.length === 1) this.#network.later(() => this.onRoom());
    return WriteStatus.Queued;
  }

  /** Hands the kernel what it takes; returns how much that was. */
  #offer(chunk: Uint8Array): number {
    const peer = this.#peer!;
    if (peer.#gone) {
      // Nobody is there any more: the kernel takes the bytes and the RST comes back later.
      this.#network.later(() => this.onReset('write to a closed connection'));
      return chunk.length;
    }
    const pipe = peer.#incoming;
    const { random, options } = this.#network;
    let room = Math.min(chunk.length, pipe.capacity - pipe.bytes);
    if (random.chance(options.partialWriteChance)) room = random.between(0, room);
    if (room > 0) {
      pipe.chunks.push(Uint8Array.from(chunk.subarray(0, room)));
      pipe.bytes += room;
      peer.#scheduleRead();
    } else if (pipe.bytes < pipe.capacity) {
      this.#network.later(() => this.onRoom());
    }
    return room;
  }

  #overflow(queuedBytes: number): void {
    const error = queueFullError(queuedBytes, this.#target);
    const peer = this.#peer!;
    this.#release();
    this.#network.later(() => this.#close(error));
    this.#network.later(() => peer.onReset('connection reset by peer'));
  }

  #sendFin(): void {
    if (this.#finSent || this.#peer === null) return;
    this.#finSent = true;
    this.#peer.#incoming.fin = true;
    this.#peer.#scheduleRead();
    this.#closeIfDone();
  }

  #closeIfDone(): void {
    if (!this.#finSent || !this.#endSeen || this.#destroyed) return;
    this.#release();
    this.#network.later(() => this.#close(null));
  }

  #scheduleRead(): void {
    const pipe = this.#incoming;
    if (pipe.scheduled || this.#paused || this.#destroyed || !this.#opened) return;
    if (pipe.bytes === 0 && (!pipe.fin || this.#endSeen)) return;
    pipe.scheduled = true;
    this.#network.later(() => this.onEvent());
  }

  #release(): void {
    this.#shut = true;
    this.#destroyed = true;
    this.#gone = true;
    this.#queue.clear();
    this.#queuedBytes = 0;
    this.#corked = null;
  }

  #close(error: OnehopError | null): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#network.sockets.delete(this as SimSocket<unknown>);
    this.#handlers.close(this, error);
  }
}
