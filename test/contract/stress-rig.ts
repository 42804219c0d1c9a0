/** What the stress of the transports is made with: bytes that say where they belong, pairs, pressure. */
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { threadId } from 'node:worker_threads';
import type { OnehopError } from 'onehop/core';
import { type Socket, type SocketHandlers, transport } from 'onehop/transport';
import { Random } from '../fuzz/random.ts';

export const isBun = transport.name === 'bun';

// A prime, so that no shift by a buffer's size looks like the right place.
const period = 1_048_573;
const table = Buffer.allocUnsafeSlow(2 * period);
// The same in every thread.
const reference = Buffer.allocUnsafeSlow(period);
const made = new Random(9);
for (let i = 0; i < period; i++) reference[i] = made.next();
reference.copy(table);
reference.copy(table, period);

/** A view of what belongs to `position` of every stream; at most a period long. Never to be changed. */
export function lent(position: number, length: number): Buffer {
  const at = position % period;
  return table.subarray(at, at + length);
}

export const lentBytesMax = period;

/** Fills `into` with what belongs to `position` and behind. */
export function fill(into: Uint8Array, position: number): void {
  for (let at = 0; at < into.length; at += period) {
    into.set(lent(position + at, Math.min(period, into.length - at)), at);
  }
}

export function isRight(bytes: Uint8Array, position: number): boolean {
  for (let at = 0; at < bytes.length; at += period) {
    const part = bytes.subarray(at, at + period);
    if (Buffer.compare(part, lent(position + at, part.length)) !== 0) return false;
  }
  return true;
}

/** Whether nobody wrote to bytes that were only lent. */
export const isLentUntouched = (): boolean =>
  table.subarray(0, period).equals(reference) && table.subarray(period).equals(reference);

type Collect = (how?: { type: 'minor' }) => void;
const { gc, Bun } = globalThis as unknown as { gc?: Collect; Bun?: { gc(now: boolean): void } };
let untilCollected = 0;

/** Called at every event: the collector takes what nobody holds while sockets still work with it. */
export function pressure(random: Random): void {
  if (--untilCollected > 0) return;
  untilCollected = 20 + random.below(isBun ? 400 : 200);
  if (Bun !== undefined) Bun.gc(true);
  else gc?.(random.oneIn(4) ? undefined : { type: 'minor' });
}

export class Wrong extends Error {}

export function must(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Wrong(what);
}

/** Later, by one of the ways that there are. */
export function later(random: Random, what: () => void): void {
  switch (random.below(4)) {
    case 0:
      queueMicrotask(what);
      return;
    case 1:
      process.nextTick(what);
      return;
    case 2:
      setImmediate(what);
      return;
    default:
      setTimeout(what, random.below(4));
  }
}

/** What the two ends of a connection know of each other, whatever thread they are in. */
export class Shared {
  readonly #slots: Float64Array;

  constructor(slots: Float64Array) {
    this.#slots = slots;
  }

  get sentBytes(): number {
    return this.#slots[0]!;
  }
  set sentBytes(bytes: number) {
    this.#slots[0] = bytes;
  }

  /** It ended or dropped the connection before its time. */
  get wasRude(): boolean {
    return this.#slots[1] !== 0;
  }
  set wasRude(was: boolean) {
    this.#slots[1] = was ? 1 : 0;
  }
}

export const sharedSlots = 2;

/** One end of a connection; what it does is its scenario's. */
export abstract class End {
  socket!: Socket<End>;
  readonly own: Shared;
  readonly peer: Shared;
  readonly random: Random;
  readonly name: string;
  opened = false;
  closed = false;
  error: OnehopError | null = null;

  constructor(random: Random, name: string, own: Shared, peer: Shared) {
    this.random = random;
    this.name = name;
    this.own = own;
    this.peer = peer;
  }

  /** Fails unless these are the bytes of that place, and says what is there instead. */
  check(bytes: Uint8Array, position: number, where: string): void {
    if (isRight(bytes, position)) return;
    let at = 0;
    while (isRight(bytes.subarray(at, at + 1), position + at)) at++;
    const found = Buffer.from(bytes.buffer, bytes.byteOffset + at, Math.min(32, bytes.length - at));
    const place = reference.indexOf(found);
    const seen = place < 0 ? found.toString('hex') : `what belongs to ${place}`;
    throw new Wrong(
      `${this.name}: ${where} at ${position + at} (${at} of ${bytes.length}): ${seen}`,
    );
  }

  /** For whoever looks into one that hangs. */
  get story(): string {
    const { opened, closed, error, own } = this;
    return `${this.name} ${JSON.stringify({ opened, closed, error: error?.message, sentBytes: own.sentBytes, wasRude: own.wasRude })}`;
  }

  open(): void {}
  abstract data(bytes: Uint8Array): void;
  drain(): void {}
  end(): void {}
  close(): void {}
}

export const handlers: SocketHandlers<End> = {
  open(socket) {
    const end = socket.state;
    must(!end.opened && !end.closed, `${end.name}: opened twice or behind its close`);
    end.opened = true;
    end.socket = socket;
    end.open();
  },
  data(socket, bytes) {
    const end = socket.state;
    must(end.opened && !end.closed, `${end.name}: data outside of its life`);
    must(bytes.length > 0, `${end.name}: a read of nothing`);
    pressure(end.random);
    end.data(bytes);
  },
  drain(socket) {
    const end = socket.state;
    must(!end.closed, `${end.name}: drained behind its close`);
    must(socket.queuedBytes === 0, `${end.name}: drained with ${socket.queuedBytes} bytes queued`);
    end.drain();
  },
  end(socket) {
    must(!socket.state.closed, `${socket.state.name}: ended behind its close`);
    socket.state.end();
  },
  close(socket, error) {
    const end = socket.state;
    must(!end.closed, `${end.name}: closed twice`);
    end.closed = true;
    end.error = error;
    end.close();
  },
};

/** Somebody on this machine who asks whether anybody listens at a port that has become ours. */
class Stranger extends End {
  override open(): void {
    this.socket.destroy();
  }
  override data(): void {}
}

let unixPaths = 0;

export interface PairOptions {
  unix?: boolean;
  sendQueueBytesMax?: number;
}

/** Waits for one connection and for its end. `listening` is told where. */
export async function accept(
  server: End,
  { unix, ...bound }: PairOptions,
  listening: (to: { port: number } | { path: string }) => void,
): Promise<void> {
  const path = join(tmpdir(), `onehop-stress-${process.pid}-${threadId}-${++unixPaths}.sock`);
  const at = unix === true ? { path } : {};
  let isTaken = false;
  const listener = await transport.listen({ ...at, ...bound }, handlers, () => {
    if (isTaken) return new Stranger(server.random, 'a stranger', server.own, server.peer);
    isTaken = true;
    return server;
  });
  listening(unix === true ? { path } : { port: listener.port });
  await until(
    () => server.opened,
    () => `${server.name} accepted`,
  );
  const isListenerGone = listener.close();
  await closed(server);
  await isListenerGone;
}

/** Connects, and resolves when that has been closed again. */
export async function connect(
  client: End,
  { unix: _, ...bound }: PairOptions,
  to: { port: number } | { path: string },
): Promise<void> {
  client.socket = transport.connect({ ...to, ...bound }, handlers, client);
  await closed(client);
}

const closed = (end: End): Promise<void> =>
  until(
    () => end.closed,
    () => `closed: ${end.story}`,
  );

/** Connects two ends, by a port or a path of their own. Resolves when both have been closed. */
export async function connectPair(client: End, server: End, options: PairOptions): Promise<void> {
  let connected: Promise<void> | null = null;
  await accept(server, options, (to) => {
    connected = connect(client, options, to);
  });
  await connected;
}

/** Far beyond what any of it takes; a stress that hangs is to say where. */
const stuckMs = Number(process.env['ONEHOP_STUCK_MS'] ?? 60_000);

export async function until(condition: () => boolean, what: () => string): Promise<void> {
  const deadlineMs = performance.now() + stuckMs;
  while (!condition()) {
    must(performance.now() < deadlineMs, `never happened: ${what()}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** Runs `count` jobs, so many of them at a time. */
export async function inParallel(
  count: number,
  width: number,
  job: (index: number) => Promise<void>,
): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < count) await job(next++);
  };
  await Promise.all(Array.from({ length: Math.min(width, count) }, lane));
}
