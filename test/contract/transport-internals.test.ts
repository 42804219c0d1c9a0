/** What went wrong where the transports use what the runtimes do not document. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import dns from 'node:dns';
import { existsSync, readdirSync } from 'node:fs';
import { createServer, Server } from 'node:net';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { holdAddress, transport } from 'onehop/transport';
import { onBun } from '../support/serve-process.ts';
import { Bench } from './transport-harness.ts';

const here = dirname(fileURLToPath(import.meta.url));
const bench = new Bench(transport);
after(() => bench.finish());

function say(mode: string): string {
  const script = join(here, 'transport-internals-child.js');
  const { stdout, stderr } = spawnSync(process.execPath, [script, mode], {
    encoding: 'utf8',
    timeout: 30_000,
  });
  return `${stdout}${stderr}`.trim();
}

test('drain was told by the callback of the first write while the second one waited', () => {
  assert.equal(say('first'), 'early 0\nqueued 0');
});

test('bytes that were handed over were read onto after a handler had thrown', () => {
  assert.match(say('throwing'), /^caught 1, changed false$/m);
});

test('outgoing sockets shared one read buffer on Windows, too', { skip: onBun }, () => {
  assert.equal(say('windows'), 'shared false');
});

test('the second address of a name brought what another connection had left in the buffer', {
  skip: onBun ? 'Bun resolves names itself' : false,
}, async (context) => {
  const { lookup } = dns;
  context.mock.method(dns, 'lookup', (...given: unknown[]) => {
    if (given[0] !== 'two.test') return Reflect.apply(lookup, dns, given);
    const answer = given.at(-1) as (error: null, addresses: dns.LookupAddress[]) => void;
    // Nobody listens at the first one.
    process.nextTick(answer, null, [
      { address: '::1', family: 6 },
      { address: '127.0.0.1', family: 4 },
    ]);
  });
  const { listener } = await bench.listen({}, (side) => {
    side.onData = () => void side.socket.writeLatin1('the answer');
  });
  const other = bench.connect({ port: listener.port });
  await bench.until(() => other.has('open'), 'open');
  other.socket.writeLatin1('the secret of another connection');
  await bench.until(() => other.bytes > 0, 'answered');
  const client = bench.connect({ host: 'two.test', port: listener.port });
  await bench.until(() => client.has('open'), 'open');
  client.socket.writeLatin1('hello');
  await bench.until(() => client.bytes > 0, 'answered');
  assert.equal(client.text, 'the answer');
});

test('a reset behind an end that waited was never closed and kept its descriptor', async () => {
  const countOpen = (): number =>
    existsSync('/proc/self/fd') ? readdirSync('/proc/self/fd').length : 0;
  const { client, server } = await bench.pair(undefined, (side) => {
    // libuv tells a reset behind bytes that were not read yet as an end.
    side.onEnd = () => side.socket.end();
  });
  server.socket.pause();
  const bytes = Buffer.alloc(20_000_000);
  client.socket.write(bytes, 0, bytes.length);
  client.socket.end();
  await bench.sleep(20);
  const before = countOpen();
  client.socket.destroy(true);
  await bench.until(() => client.has('close'), 'closed');
  assert.equal(client.error, null);
  assert.equal(client.socket.queuedBytes, 0);
  server.socket.resume();
  await bench.until(() => server.has('close'), 'the peer closed');
  assert.ok(server.bytes < bytes.length);
  assert.ok(before === 0 || countOpen() < before);
});

test('a reset just behind an end was never closed', async () => {
  const { client, server } = await bench.pair(undefined, (side) => {
    side.onEnd = () => side.socket.end();
  });
  client.socket.writeLatin1('x');
  client.socket.end();
  client.socket.destroy(true);
  await bench.until(() => client.has('close') && server.has('close'), 'closed');
  assert.equal(client.error, null);
});

test('an address that somebody took meanwhile was held as if it were ours', {
  skip: onBun ? 'Bun holds no address' : false,
}, async (context) => {
  const thief = createServer();
  const close = Server.prototype.close;
  context.mock.method(Server.prototype, 'close', function (this: Server, done?: () => void) {
    const { port } = this.address() as { port: number };
    if (this === thief) return close.call(this, done);
    return close.call(this, () => {
      thief.listen({ port });
      done?.();
    });
  });
  const held = await holdAddress({ host: '127.0.0.1', port: 0 });
  assert.ok(thief.listening);
  assert.equal(held.descriptor, null);
  held.release();
  context.mock.restoreAll();
  thief.close();
});
