/**
 * The client library with long bodies, in a process of its own and without a gateway between: whatever
 * aborts a runtime shows here as well. `bodies-client-child.js UPSTREAM_URL ROUNDS`: so many rounds of
 * bodies one at a time, then it says `alone no more` and goes on with several; a line in ends it when
 * what is under way is over, and is answered with what became of the transfers.
 */
import { createInterface } from 'node:readline';
import { Client, createFetch } from 'onehop';
import { BodyCheck, bodyPiece } from './bodies-pattern.ts';
import {
  Deck,
  Lanes,
  megabyte,
  sizesMb,
  type Transfer,
  TransferTally,
  targetOf,
} from './bodies-tally.ts';
import { anyLength } from './bodies-wire.ts';
import { pause } from './storm-phases.ts';

const baseUrl = process.argv[2]!;
const rounds = Number(process.argv[3]);
const options = { baseUrl, headTimeoutMs: 0, idleTimeoutMs: 60_000, retries: 0 };
let client = new Client(options);
let fetch = createFetch(client);
const tally = new TransferTally();
const left = new Error('left on purpose');

/** Sips and bursts, as the sockets of the other callers have them. */
function rest({ pace, size }: Transfer, before: number, after: number): Promise<void> | null {
  const count = pace === 'slow' ? 120 : pace === 'bursty' ? 8 : 0;
  const part = size / count;
  const passed = count > 0 && Math.floor(before / part) < Math.floor(after / part);
  return passed ? pause(pace === 'slow' ? 15 : 200) : null;
}

async function* piecesOf(transfer: Transfer): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const { key, size, pace, leaveAt } = transfer;
  for (let at = 0; at < size; ) {
    if (at >= leaveAt) throw left;
    const length = Math.min(pace === 'large' ? 65_536 << (at % 3) : anyLength(), size - at);
    yield bodyPiece(key, at, length) as Buffer<ArrayBuffer>;
    const resting = rest(transfer, at, at + length);
    at += length;
    if (resting !== null) await resting;
  }
}

async function upload(transfer: Transfer): Promise<string | null> {
  const { via, size, chunked } = transfer;
  if (via === 'fetch') {
    const body = ReadableStream.from(piecesOf(transfer)) as ReadableStream;
    const init = { method: 'POST', body, duplex: 'half' } as RequestInit;
    const response = await fetch(baseUrl + targetOf(transfer), init);
    return ((await response.json()) as { fault: string | null }).fault;
  }
  const response = await client.post(targetOf(transfer), {
    body: piecesOf(transfer),
    ...(chunked ? {} : { contentLength: size }),
  });
  return (await response.json<{ fault: string | null }>()).fault;
}

/** Checks the pieces as they come, at the transfer's pace. */
async function read(transfer: Transfer, body: AsyncIterable<Uint8Array>): Promise<string | null> {
  const check = new BodyCheck(transfer.key, transfer.size);
  for await (const piece of body) {
    const before = check.bytes;
    check.take(piece);
    if (check.bytes >= transfer.leaveAt) throw left;
    const resting = rest(transfer, before, check.bytes);
    if (resting !== null) await resting;
  }
  return check.fault;
}

async function download(transfer: Transfer): Promise<string | null> {
  const { via, key, size, leaveAt, pace } = transfer;
  const target = targetOf(transfer);
  if (via === 'fetch') {
    const { body } = await fetch(baseUrl + target);
    return read(transfer, body as unknown as AsyncIterable<Uint8Array>);
  }
  const response = await client.get(target);
  if (pace !== 'large' || leaveAt < size || size > 20 * megabyte) {
    return read(transfer, response.body);
  }
  // Collected: read straight to where it belongs.
  const check = new BodyCheck(key, size);
  check.take(await response.bytes());
  return check.fault;
}

async function move(transfer: Transfer): Promise<void> {
  try {
    const fault = await (transfer.upload ? upload(transfer) : download(transfer));
    if (fault === null) tally.done(transfer);
    else tally.failedWith(transfer, fault);
  } catch (error) {
    if (transfer.leaveAt < transfer.size) tally.left(transfer);
    else tally.failedWith(transfer, String(error));
  }
}

/** As fast as both sides can, each body on a new connection: see the callers' `alone`. */
async function alone(): Promise<void> {
  const decks = sizesMb.map((mb) => new Deck(['Client', 'fetch'], mb * megabyte));
  for (let round = 0; round < rounds; round++) {
    for (const deck of decks) {
      for (const via of ['Client', 'fetch'] as const) {
        const transfer = { ...deck.next(), via, upload: round % 4 < 3, leaveAt: 1e9 };
        await move({ ...transfer, pace: 'large', farPace: 'large' });
        await client.close();
        client = new Client(options);
        fetch = createFetch(client);
      }
    }
  }
}

const lanes = new Lanes(move);
const start = (): void => {
  console.log('alone no more');
  for (const mb of sizesMb) {
    const deck = new Deck(['Client', 'fetch'], mb * megabyte);
    lanes.start(deck, 4, () => true);
    if (mb === 1) lanes.start(deck, 4, () => true);
  }
};
void alone().then(start);
createInterface({ input: process.stdin })
  .on('line', async () => {
    await lanes.stop();
    const { idle, busy, opening } = Object.values(client.stats()).reduce(
      (sum, { connections }) => ({
        idle: sum.idle + connections.idle,
        busy: sum.busy + connections.busy,
        opening: sum.opening + connections.opening,
      }),
      { idle: 0, busy: 0, opening: 0 },
    );
    console.log(JSON.stringify({ ...tally, connections: { idle, busy, opening } }));
  })
  .on('close', () => process.exit(0));
