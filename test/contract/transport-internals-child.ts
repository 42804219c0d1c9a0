// One process of transport-internals.test.ts: node transport-internals-child.js MODE
// What is told here depends on what the process did before, or ends it.
const mode = process.argv[2];
if (mode === 'windows') Object.defineProperty(process, 'platform', { value: 'win32' });

const { transport } = await import('onehop/transport');
const { Bench } = await import('./transport-harness.ts');
const bench = new Bench(transport);

/** The first write of a process is a documented one, and its callback comes later than the next write. */
async function first(): Promise<void> {
  const queued: number[] = [];
  const { client, server } = await bench.pair((side) => {
    side.onDrain = () => queued.push(side.socket.queuedBytes);
  });
  server.socket.pause();
  const bytes = Buffer.alloc(20_000_000, 1);
  client.socket.write(bytes, 0, 10);
  client.socket.write(bytes, 10, bytes.length);
  await bench.sleep(50);
  console.log(`early ${queued.length}`);
  server.socket.resume();
  await bench.until(() => queued.length > 0, 'drained');
  console.log(`queued ${queued.join()}`);
}

/** Bytes that are full and handed over; then a handler throws, and the peer sends more. */
async function throwing(): Promise<void> {
  let caught = 0;
  process.on('uncaughtException', () => caught++);
  const body = new Uint8Array(1000);
  let received = 0;
  const { client, server } = await bench.pair((side) => {
    side.keep = false;
    side.onData = (bytes) => {
      if (received === 0) side.socket.readInto(body, 0);
      else {
        body.set(bytes.subarray(0, 1000 - (received - 10)), received - 10);
        if (received < 1010) throw new Error('a handler that throws');
      }
      received += bytes.length;
    };
  });
  server.socket.write(Buffer.alloc(10, 1), 0, 10);
  await bench.until(() => received === 10, 'the head');
  server.socket.write(Buffer.alloc(1000, 2), 0, 1000);
  await bench.until(() => caught > 0, 'the exception');
  const handedOver = body.slice();
  server.socket.write(Buffer.alloc(1000, 3), 0, 1000);
  const isChanged = (): boolean => Buffer.compare(handedOver, body) !== 0;
  await bench.until(() => client.has('close') || isChanged(), 'closed');
  await bench.sleep(20);
  console.log(`caught ${caught}, changed ${isChanged()}`);
}

/** Where a read is posted with its buffer, two sockets must not have the same one. */
async function windows(): Promise<void> {
  const buffers: ArrayBufferLike[][] = [[], []];
  const sides: Awaited<ReturnType<typeof bench.pair>>[] = [];
  for (const seen of buffers) {
    const { client, server } = await bench.pair((side) => {
      side.onData = (bytes) => seen.push(bytes.buffer);
    });
    sides.push({ client, server });
  }
  for (let round = 1; round <= 3; round++) {
    for (const { server } of sides) server.socket.writeLatin1('x');
    await bench.until(() => sides.every(({ client }) => client.bytes === round), 'read');
  }
  const [one, other] = buffers;
  console.log(`shared ${one!.some((buffer) => other!.includes(buffer))}`);
}

await { first, throwing, windows }[mode as 'first']();
process.exit(0);
