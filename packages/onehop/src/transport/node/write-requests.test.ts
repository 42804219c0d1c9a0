/**
 * What becomes of a write (taken whole, taken in part, finished within the same call, failed) is the
 * kernel's and libuv's business and cannot be had on demand. So the handle is played here, after the
 * rule of the real one: to give a request that is still attached to another write ends the process.
 */
import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import type { Socket as NetSocket } from 'node:net';
import { test } from 'node:test';
import { type SocketHandlers, WriteStatus } from '../types.ts';
import type { StreamHandle, WriteRequest } from './handle.ts';
import { NodeSocket } from './socket.ts';

/** How a write ends. `InCall`: in part by the kernel, the rest within the same call; told later. */
const outcomes = ['whole', 'in part', 'in call', 'fails later', 'fails'] as const;
type Outcome = (typeof outcomes)[number];

/** The class of the runtime's requests: told from a plain object by its constructor. */
class PlayedRequest implements WriteRequest {
  oncomplete: (this: WriteRequest, status: number) => void = () => {};
  chunk: Uint8Array | null = null;
  waiter: WriteRequest['waiter'] = null;
  attached = false;
}

interface Attached {
  request: PlayedRequest;
  bytes: number;
  status: number;
}

const errno = -32; // EPIPE

/** A stream handle as Node 20 has it. */
class PlayedHandle implements StreamHandle {
  writeQueueSize = 0;
  next: Outcome = 'whole';
  aborted = false;
  readonly attached: Attached[] = [];

  #write(request: PlayedRequest, bytes: number): number {
    // StreamReq::AttachToObject asserts this.
    if (request.attached) this.aborted = true;
    // Behind what waits, nothing is tried at once.
    const outcome = this.writeQueueSize > 0 && this.next !== 'fails' ? 'in part' : this.next;
    if (outcome === 'whole') return 0;
    if (outcome === 'fails') return errno;
    request.attached = true;
    const left = outcome === 'in call' ? 0 : bytes;
    this.writeQueueSize += left;
    this.attached.push({ request, bytes: left, status: outcome === 'fails later' ? errno : 0 });
    return 0;
  }

  writeBuffer(request: WriteRequest | null, bytes: Uint8Array): number {
    return this.#write(request as PlayedRequest, bytes.length);
  }

  writeLatin1String(request: WriteRequest | null, text: string): number {
    return this.#write(request as PlayedRequest, text.length);
  }

  /** The loop tells of the oldest write that was attached. */
  completeOne(): void {
    const done = this.attached.shift();
    if (done === undefined) return;
    this.writeQueueSize -= done.bytes;
    done.request.attached = false;
    done.request.oncomplete(done.status);
  }
}

/** As much of a net.Socket as ours uses when it writes on the handle. */
class PlayedNet extends EventEmitter {
  readonly _handle = new PlayedHandle();
  readonly writableLength = 0;
  destroyed = false;

  /** The documented path: only the first write of a process goes it. */
  write(text: string): boolean {
    const request = new PlayedRequest();
    this._handle.writeLatin1String(request, text);
    return true;
  }

  destroy(): void {
    this.destroyed = true;
  }
}

function open(): { net: PlayedNet; socket: NodeSocket<null>; drains: () => number } {
  let drains = 0;
  const handlers: SocketHandlers<null> = {
    open() {},
    data() {},
    drain: () => void drains++,
    end() {},
    close() {},
  };
  const net = new PlayedNet();
  const socket = new NodeSocket(
    net as unknown as NetSocket,
    handlers,
    null,
    'played',
    1e9,
    false,
    true,
  );
  socket.onOpen();
  return { net, socket, drains: () => drains };
}

/** Teaches the adapter the class of the requests. */
function learn(): void {
  const { socket } = open();
  assert.equal(socket.writeLatin1('learn'), WriteStatus.Flushed);
}

const bytes = new Uint8Array(100);

/** One order: what becomes of each write, and how many ends are told between it and the next. */
function play(order: readonly { outcome: Outcome; told: number }[], text: string): void {
  const { net, socket, drains } = open();
  const handle = net._handle;
  let failed = false;
  let mayDrain = false;
  for (const [index, { outcome, told }] of order.entries()) {
    handle.next = outcome;
    const queuedBefore = handle.writeQueueSize;
    // Both ways to write share whatever is shared.
    const status =
      index % 2 === 0 ? socket.write(bytes, 0, 100) : socket.writeLatin1('x'.repeat(100));
    assert.equal(handle.aborted, false, `${text}: a request in use was given to write ${index}`);
    if (failed) assert.equal(status, WriteStatus.Closed, text);
    else if (outcome === 'fails') {
      failed = true;
      assert.equal(status, WriteStatus.Closed, text);
    } else if (queuedBefore > 0 || outcome === 'in part' || outcome === 'fails later') {
      mayDrain = true;
      assert.equal(status, WriteStatus.Queued, `${text}: write ${index}`);
    } else assert.equal(status, WriteStatus.Flushed, `${text}: write ${index}`);
    for (let i = 0; i < told; i++) handle.completeOne();
    failed ||= net.destroyed;
  }
  while (handle.attached.length > 0) handle.completeOne();
  failed ||= net.destroyed;
  assert.equal(handle.aborted, false, text);
  if (!failed && mayDrain) assert.ok(drains() > 0, `${text}: what waited was never told`);
  if (!mayDrain) assert.equal(drains(), 0, `${text}: a drain that nobody waits for`);
  assert.equal(socket.queuedBytes, 0, text);
}

test('a write request that is still attached is never given to another write, in any order', () => {
  learn();
  const tolds = [0, 1, 2];
  const steps = outcomes.flatMap((outcome) => tolds.map((told) => ({ outcome, told })));
  let orders = 0;
  const extend = (order: { outcome: Outcome; told: number }[], depth: number): void => {
    if (depth === 0) {
      orders++;
      play(order, order.map(({ outcome, told }) => `${outcome}/${told}`).join(', '));
      return;
    }
    for (const step of steps) extend([...order, step], depth - 1);
  };
  for (const depth of [1, 2, 3, 4]) extend([], depth);
  assert.equal(orders, 15 + 15 ** 2 + 15 ** 3 + 15 ** 4);
});

test('the bytes of a write that waits are kept until it ends, and no longer', () => {
  learn();
  const { net, socket } = open();
  const handle = net._handle;
  handle.next = 'in part';
  assert.equal(socket.write(bytes, 0, 100), WriteStatus.Queued);
  const { request } = handle.attached[0]!;
  assert.equal(request.chunk, bytes);
  handle.completeOne();
  assert.equal(request.chunk, null);
  assert.equal(request.waiter, null);
});
