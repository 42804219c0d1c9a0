/** What the transport contract is written with: recorded sockets, and waiting on either kind of clock. */
import assert from 'node:assert/strict';
import type { OnehopError } from 'onehop/core';
import type { ConnectOptions, Listener, ListenOptions, Socket, Transport } from 'onehop/transport';
import type { SimTransport } from 'onehop/transport/sim';

/** Everything that happened to one socket, in order. */
export class Side {
  socket!: Socket<Side>;
  events: string[] = [];
  chunks: Buffer[] = [];
  bytes = 0;
  error: OnehopError | null = null;
  /** Keep what arrives? Off for the big transfers, which hash instead. */
  keep = true;
  onOpen: (() => void) | null = null;
  onData: ((bytes: Uint8Array) => void) | null = null;
  onDrain: (() => void) | null = null;
  onEnd: (() => void) | null = null;

  get text(): string {
    return Buffer.concat(this.chunks).toString('latin1');
  }

  has(event: string): boolean {
    return this.events.includes(event);
  }

  count(event: string): number {
    return this.events.filter((each) => each === event).length;
  }
}

/** Shared by every socket of the suite, as the seam demands. */
const handlers = {
  open(socket: Socket<Side>): void {
    const side = socket.state;
    side.socket = socket;
    side.events.push('open');
    side.onOpen?.();
  },
  data(socket: Socket<Side>, bytes: Uint8Array): void {
    const side = socket.state;
    if (side.events.at(-1) !== 'data') side.events.push('data');
    side.bytes += bytes.length;
    if (side.keep) side.chunks.push(Buffer.from(bytes));
    side.onData?.(bytes);
  },
  drain(socket: Socket<Side>): void {
    socket.state.events.push('drain');
    socket.state.onDrain?.();
  },
  end(socket: Socket<Side>): void {
    socket.state.events.push('end');
    socket.state.onEnd?.();
  },
  close(socket: Socket<Side>, error: OnehopError | null): void {
    const side = socket.state;
    side.events.push('close');
    side.error = error;
  },
};

export class Bench {
  readonly transport: Transport;
  readonly #listeners: Listener[] = [];
  readonly #sides: Side[] = [];

  constructor(transport: Transport) {
    this.transport = transport;
  }

  get sim(): SimTransport | null {
    return this.transport.name === 'sim' ? (this.transport as SimTransport) : null;
  }

  connect(options: ConnectOptions, prepare?: (side: Side) => void): Side {
    const side = new Side();
    prepare?.(side);
    this.#sides.push(side);
    side.socket = this.transport.connect(options, handlers, side);
    return side;
  }

  /** `accepted` fills as connections arrive. */
  async listen(
    options: ListenOptions,
    prepare?: (side: Side) => void,
  ): Promise<{ listener: Listener; accepted: Side[] }> {
    const accepted: Side[] = [];
    const listener = await this.wait(
      this.transport.listen(options, handlers, () => {
        const side = new Side();
        prepare?.(side);
        accepted.push(side);
        this.#sides.push(side);
        return side;
      }),
    );
    this.#listeners.push(listener);
    return { listener, accepted };
  }

  /** A connection with both its ends open. */
  async pair(
    prepareClient?: (side: Side) => void,
    prepareServer?: (side: Side) => void,
    options: { connect?: ConnectOptions; listen?: ListenOptions } = {},
  ): Promise<{ client: Side; server: Side }> {
    const { listener, accepted } = await this.listen(options.listen ?? {}, prepareServer);
    const to = listener.path === null ? { port: listener.port } : { path: listener.path };
    const client = this.connect({ ...to, ...options.connect }, prepareClient);
    await this.until(() => client.has('open') && accepted[0]?.has('open') === true, 'both open');
    return { client, server: accepted[0]! };
  }

  /** Waits for a promise that depends on the network. */
  async wait<T>(promise: Promise<T>): Promise<T> {
    const { sim } = this;
    if (sim === null) return promise;
    let settled = false;
    promise.then(
      () => (settled = true),
      () => (settled = true),
    );
    await sim.clock.runAsync(() => settled);
    return promise;
  }

  /** Waits for a condition; fails after 15 s, or at once when a simulation has come to rest. */
  async until(condition: () => boolean, what: string, timeoutMs = 15_000): Promise<void> {
    const { sim } = this;
    if (sim !== null) {
      await sim.clock.runAsync(condition);
      assert.ok(condition(), `never happened: ${what} (seed ${sim.seed})`);
      return;
    }
    const deadlineMs = performance.now() + timeoutMs;
    while (!condition()) {
      assert.ok(performance.now() < deadlineMs, `never happened: ${what}`);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  /** Lets time pass in which something must not happen. */
  async sleep(ms: number): Promise<void> {
    let over = false;
    if (this.sim === null) await new Promise((resolve) => setTimeout(resolve, ms));
    else {
      this.sim.clock.setTimer(() => (over = true), ms);
      await this.sim.clock.runAsync(() => over);
    }
  }

  /** Closes everything and checks what must hold for every socket of every case. */
  async finish(): Promise<void> {
    for (const side of this.#sides) if (!side.has('close')) side.socket?.destroy();
    await this.until(() => this.#sides.every((side) => side.has('close')), 'every socket closed');
    await Promise.all(this.#listeners.map((listener) => this.wait(listener.close())));
    await this.sleep(2);
    for (const { events } of this.#sides) {
      const story = events.join(' ');
      assert.equal(events.filter((event) => event === 'close').length, 1, story);
      assert.equal(events.at(-1), 'close', story);
      assert.ok(events.filter((event) => event === 'open').length <= 1, story);
      assert.ok(events.filter((event) => event === 'end').length <= 1, story);
      if (events.length > 1) assert.equal(events[0], 'open', story);
    }
    if (this.sim !== null) assert.equal(this.sim.openSockets, 0);
  }
}

/** Bytes whose every position differs from its neighbours', so a lost or doubled byte shows. */
export function pattern(length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  for (let i = 0; i < length; i++) bytes[i] = (i * 31 + (i >>> 8) * 7 + (i >>> 16)) & 0xff;
  return bytes;
}
