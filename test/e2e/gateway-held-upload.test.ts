/**
 * Design rule 1 where it is hardest: the caller leaves while its upload is held up by an upstream that
 * takes nothing. The gateway does not read its socket then, and is to hear of it all the same, before
 * any deadline and while the upstream is still stuck.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { test } from 'node:test';
import type { RawPeer } from '../support/raw-server.ts';
import { ok } from '../support/raw-server.ts';
import {
  assertGaugesZero,
  pause,
  type Rig,
  simple,
  until,
  withGateway,
  withServers,
} from './gateway-rig.ts';
import { RawClient } from './raw-client.ts';

const piece = Buffer.alloc(64 * 1024, 'x');
const chunkOf = (bytes: Buffer): Buffer =>
  Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from('\r\n')]);
const head = 'POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n';
/** `limits.stalledReadAhead`, what was held before, and a read behind it: up to 512 KiB on Bun. */
const readAheadMax = 1024 * 1024 + 600_000;
/** Enough time for a machine of any speed; the deadlines under test are 10 minutes. */
const patientMs = 30_000;

interface Caller {
  send(bytes: string | Uint8Array): void;
  leave(): void;
}

async function byFin(port: number): Promise<Caller> {
  const client = await RawClient.open(port);
  return { send: (bytes) => client.send(bytes), leave: () => client.close() };
}

async function byReset(port: number): Promise<Caller> {
  const client = await RawClient.open(port);
  return {
    send: (bytes) => client.send(bytes),
    leave: () => void client.socket.resetAndDestroy(),
  };
}

/** A caller in a process of its own, which passes on what it is given until it is killed. */
async function byKill(port: number): Promise<Caller> {
  const script = `
    const socket = require('node:net').connect(${port}, '127.0.0.1', () => {
      process.stdout.write('open');
      process.stdin.pipe(socket);
    });
    socket.on('error', () => {});`;
  const child: ChildProcess = spawn(process.execPath, ['-e', script], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  child.stdin!.on('error', () => {});
  await new Promise((resolve) => child.stdout!.once('data', resolve));
  return { send: (bytes) => child.stdin!.write(bytes), leave: () => child.kill('SIGKILL') };
}

/** An upstream that takes in what its kernel takes, and not a byte more. */
const stuck = { onRequest: () => {}, onConnect: (peer: RawPeer) => peer.socket.pause() };

/** Whether the gateway holds bytes for the upstream that it does not take. */
function isHeldUp({ gateway }: Rig): boolean {
  let held = false;
  gateway.server.forEachExchange(({ state }) => {
    const { upstreamExchange } = state as unknown as {
      upstreamExchange: { connection: { socket: { queuedBytes: number } } | null } | null;
    };
    if ((upstreamExchange?.connection?.socket?.queuedBytes ?? 0) > 0) held = true;
  });
  return held;
}

/** Uploads until the gateway holds the caller up. */
async function fill(rig: Rig, caller: Caller): Promise<void> {
  const { counters } = rig.gateway.server;
  let sent = head.length + counters.bytesIn;
  caller.send(head);
  const bytes = chunkOf(piece);
  while (!isHeldUp(rig)) {
    caller.send(bytes);
    sent += bytes.length;
    assert.ok(await until(() => counters.bytesIn >= sent || isHeldUp(rig), patientMs));
  }
}

/** The exchange is over while the upstream is still stuck, which then sees that it was cut off. */
async function assertCancelled(rig: Rig, peer: RawPeer): Promise<void> {
  const { counters } = rig.gateway.server;
  assert.ok(await until(() => counters.exchangesOpen === 0, patientMs), 'the exchange goes on');
  assert.ok(await until(() => counters.connectionsOpen === 0, patientMs), 'the caller stays');
  await assertGaugesZero(rig.gateway);
  peer.socket.resume();
  assert.ok(await until(() => peer.closed || peer.ended, patientMs), 'the upstream goes on');
  assert.equal(peer.server.requests.length, 0, 'the upload looks complete');
}

const ways = { FIN: byFin, reset: byReset, 'the kill of its process': byKill };
for (const [how, open] of Object.entries(ways)) {
  for (const [where, moreBytes] of [
    ['', 0],
    [' with 600 KB on the way', 600_000],
  ] as const) {
    test(`rule 1: the caller leaves a held-up upload by ${how}${where} and it is cancelled`, async () => {
      await withServers([stuck], async ([server], ports) => {
        await withGateway(simple(ports), async (rig) => {
          const caller = await open(rig.port);
          await fill(rig, caller);
          if (moreBytes > 0) {
            caller.send(chunkOf(Buffer.alloc(moreBytes, 'y')));
            // A process of its own has them in its own hands at first.
            await pause(300);
          }
          caller.leave();
          await assertCancelled(rig, server!.peers[0]!);
        });
      });
    });
  }
}

test('rule 1: a reset of a held-up upload is heard behind more bytes than are ever read ahead', async () => {
  await withServers([stuck], async ([server], ports) => {
    await withGateway(simple(ports), async (rig) => {
      const caller = await byReset(rig.port);
      await fill(rig, caller);
      caller.send(chunkOf(Buffer.alloc(20_000_000, 'y')));
      const { counters } = rig.gateway.server;
      const before = counters.bytesIn;
      await pause(2500);
      const readBytes = counters.bytesIn - before;
      assert.ok(readBytes < readAheadMax, `${readBytes} bytes were read ahead`);
      caller.leave();
      await assertCancelled(rig, server!.peers[0]!);
    });
  });
});

test('rule 1: a reset of a held-up upload is heard where nothing is read further ahead', async () => {
  await withServers([stuck], async ([server], ports) => {
    const input = simple(ports, {}, { limits: { stalledReaders: 0 } });
    await withGateway(input, async (rig) => {
      const caller = await byReset(rig.port);
      await fill(rig, caller);
      caller.send(chunkOf(Buffer.alloc(600_000, 'y')));
      await pause(200);
      caller.leave();
      await assertCancelled(rig, server!.peers[0]!);
    });
  });
});

test('rule 1: a caller that half-closed behind its whole held-up upload still gets the answer', async () => {
  const slow = {
    onRequest: (peer: RawPeer) => peer.send(ok('taken')),
    onConnect: (peer: RawPeer) => peer.socket.pause(),
  };
  await withServers([slow], async ([server], ports) => {
    await withGateway(simple(ports), async (rig) => {
      const client = await RawClient.open(rig.port);
      await fill(rig, client as unknown as Caller);
      client.send(chunkOf(Buffer.alloc(300_000, 'y')));
      client.send('0\r\nx-sum: 1\r\n\r\n');
      client.socket.end();
      // Long enough to be read further ahead, FIN included.
      await pause(2000);
      assert.equal(rig.gateway.server.counters.exchangesOpen, 1);
      server!.peers[0]!.socket.resume();
      assert.ok(await client.untilText('taken', patientMs), client.text);
      assert.equal(server!.requests.length, 1);
      client.close();
    });
  });
});

test('rule 1: a caller that half-closed in its held-up upload, which it cannot complete, is told', async () => {
  await withServers([stuck], async ([server], ports) => {
    await withGateway(simple(ports), async (rig) => {
      const client = await RawClient.open(rig.port);
      await fill(rig, client as unknown as Caller);
      client.send('5\r\nhal');
      client.socket.end();
      assert.ok(await client.untilText('400 Bad Request', patientMs), client.text);
      await assertCancelled(rig, server!.peers[0]!);
    });
  });
});
