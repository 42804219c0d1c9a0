/** A target that drops packets and callers that do not wait: connects must not pile up. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Socket, type SocketHandlers, transport } from 'onehop/transport';
import { descriptorsOf } from './child.ts';
import { DeafTarget } from './deaf.ts';
import { pause } from './storm-phases.ts';

const unknown = descriptorsOf(process.pid) === null ? 'reads /proc' : false;

test('connects to a deaf target that are given up leave no descriptors behind', {
  skip: unknown,
}, async () => {
  const deaf = await DeafTarget.start();
  try {
    const { port } = deaf;
    let opened = 0;
    let closed = 0;
    const handlers: SocketHandlers<null> = {
      open: () => opened++,
      data() {},
      drain() {},
      end() {},
      close: () => closed++,
    };
    // The first has the runtime open what it keeps for itself.
    const before = descriptorsOf(process.pid)!;
    for (let round = 0; round < 5; round++) {
      const sockets: Socket<null>[] = [];
      for (let i = 0; i < 20; i++) sockets.push(transport.connect({ port }, handlers, null));
      await pause(30);
      for (const socket of sockets) socket.destroy();
      await pause(30);
    }
    for (let i = 0; i < 500 && closed < 100; i++) await pause(20);
    assert.deepEqual([opened, closed], [0, 100]);
    const left = descriptorsOf(process.pid)! - before;
    // Bun cannot take a connect back: the first round, and few of any later one, are the kernel's.
    assert.ok(left <= (transport.name === 'bun' ? 26 : 6), `${left} descriptors are left`);
  } finally {
    await deaf.kill();
  }
});
