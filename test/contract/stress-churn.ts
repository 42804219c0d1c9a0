/**
 * Everything that can be called on a socket, at any time: while it connects, within its callbacks, when it
 * is closed. Nothing is asked of the bytes but that what arrives is the beginning of what was sent.
 */
import { type Socket, WriteStatus } from 'onehop/transport';
import { Random } from '../fuzz/random.ts';
import { accept, connect, End, inParallel, later, lent, must, Shared } from './stress-rig.ts';

/** Nobody listens there, and the kernel gives it to nobody who asks for any port: we do all the time. */
const nobodysPort = 1;
const corked: Socket<End>[] = [];

class Careless extends End {
  readonly #all: Careless[];
  #receivedBytes = 0;
  #acts = 40;

  constructor(random: Random, name: string, own: Shared, peer: Shared, all: Careless[]) {
    super(random, name, own, peer);
    this.#all = all;
    all.push(this);
  }

  /** Does a few things to a few sockets; and later again, until it has done enough. */
  act(): void {
    const { random } = this;
    for (let left = random.below(6); left > 0; left--) {
      const end = random.oneIn(3) ? this.#all[random.below(this.#all.length)]! : this;
      if (end.socket !== undefined) end.#doOne(random);
    }
    // A cork does not outlive a turn.
    for (const socket of corked.splice(0)) socket.uncork();
    if (--this.#acts > 0) later(random, () => this.act());
    else this.socket?.destroy(random.oneIn(2));
  }

  #doOne(random: Random): void {
    const { socket } = this;
    const { queuedBytes } = socket;
    must(queuedBytes >= 0, `${this.name}: ${queuedBytes} bytes queued`);
    if (this.closed) must(queuedBytes === 0, `${this.name}: bytes queued when closed`);
    switch (random.below(12)) {
      case 0:
        // Each resume of one that connects is a listener of the runtime, which warns of many.
        if (this.opened || random.oneIn(5)) socket.pause();
        return;
      case 1:
        socket.cork();
        corked.push(socket);
        return;
      case 2:
        socket.uncork();
        return;
      case 3:
        if (random.oneIn(6)) socket.end();
        return;
      case 4:
        if (random.oneIn(10)) socket.destroy(random.oneIn(2));
        return;
      case 5:
        socket.readInto(new Uint8Array(random.below(3) * 50_000), random.below(2));
        return;
      case 6:
        if (!this.opened) return;
        if (random.oneIn(2)) socket.unref();
        else socket.ref();
        return;
      case 7:
        must(typeof socket.remoteAddress === 'string' && socket.alpnProtocol === '', this.name);
        return;
      case 8:
        this.#write(random);
        return;
      default:
        socket.resume();
        this.#write(random);
    }
  }

  #write(random: Random): void {
    const length = random.oneIn(5) ? random.below(300_000) : random.below(3000);
    const bytes = lent(this.own.sentBytes, length);
    const status = random.oneIn(2)
      ? this.socket.write(bytes, 0, length)
      : this.socket.writeLatin1(bytes.toString('latin1'));
    if (status !== WriteStatus.Closed) this.own.sentBytes += length;
    else if (length > 0 && this.opened && !this.closed) this.socket.destroy();
    if (this.closed) must(status === WriteStatus.Closed, `${this.name}: written to when closed`);
  }

  override open(): void {
    this.act();
  }

  override data(bytes: Uint8Array): void {
    this.check(bytes, this.#receivedBytes, 'read');
    this.#receivedBytes += bytes.length;
    if (this.random.oneIn(3)) this.act();
  }

  override drain(): void {
    this.act();
  }

  override end(): void {
    if (this.random.oneIn(2)) this.act();
    this.socket.end();
  }

  override close(): void {
    if (this.random.oneIn(2)) this.act();
  }
}

/** `count` connections whose ends also meddle with each other, and as many that come to nothing. */
export async function stressChurn(seed: number, count: number): Promise<void> {
  const all: Careless[] = [];
  await inParallel(count, 30, async (index) => {
    const random = Random.at(seed, index);
    const own = new Shared(new Float64Array(2));
    const peer = new Shared(new Float64Array(2));
    const client = new Careless(random, `c${index}`, own, peer, all);
    const server = new Careless(random, `s${index}`, peer, own, all);
    const options = { unix: random.oneIn(4) };
    let connected: Promise<void> | null = null;
    await accept(server, options, (to) => {
      connected = connect(client, options, to);
    });
    await connected;
    const nobody = new Careless(random, `n${index}`, own, peer, all);
    const failed = connect(nobody, {}, { port: nobodysPort });
    if (random.oneIn(2)) later(random, () => nobody.act());
    await failed;
  });
}
