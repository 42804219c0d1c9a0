/** Callers that move long bodies through a gateway on plain sockets, and check every byte. */
import { connect, type Socket } from 'node:net';
import { BodyCheck } from './bodies-pattern.ts';
import {
  Deck,
  Lanes,
  megabyte,
  sizesMb,
  type Transfer,
  TransferTally,
  targetOf,
} from './bodies-tally.ts';
import { MessageReader, ReadPace, writeBody } from './bodies-wire.ts';
import { pause } from './storm-phases.ts';

/** A transfer that moves nothing for so long hangs. */
const stuckMs = 60_000;

type Outcome = 'done' | 'left' | { failed: string };

function headOf(transfer: Transfer): string {
  const { upload, chunked, size, close } = transfer;
  const first = `${upload ? 'POST' : 'GET'} ${targetOf(transfer)} HTTP/1.1\r\nHost: soak.test\r\n`;
  const framing = chunked ? 'Transfer-Encoding: chunked\r\n' : `Content-Length: ${size}\r\n`;
  return `${first}${upload ? framing : ''}${close ? 'Connection: close\r\n' : ''}\r\n`;
}

/** One connection; one transfer at a time. */
class BodyConnection {
  readonly #socket: Socket;
  readonly #reader: MessageReader;
  over = false;
  #transfer!: Transfer;
  #check: BodyCheck | null = null;
  #pace: ReadPace | null = null;
  #text = '';
  #status = '';
  #settle: ((outcome: Outcome) => void) | null = null;
  #movedMs = 0;

  constructor(port: number) {
    this.#socket = connect(port, '127.0.0.1');
    this.#socket.setNoDelay(true);
    this.#reader = new MessageReader({
      onHead: (head) => this.#onHead(head),
      onBody: (bytes, start, end) => this.#onBody(bytes, start, end),
      onEnd: () => this.#onEnd(),
    });
    this.#socket.on('data', (bytes) => {
      this.#movedMs = performance.now();
      this.#reader.push(bytes as Buffer);
      if (this.#reader.fault !== null) this.#gone(`not HTTP: ${this.#reader.fault}`);
    });
    this.#socket.on('error', (error) => this.#gone(error.message));
    this.#socket.on('close', () => this.#gone('closed'));
  }

  move(transfer: Transfer): Promise<Outcome> {
    const { upload, key, size, pace, leaveAt } = transfer;
    this.#transfer = transfer;
    this.#check = upload ? null : new BodyCheck(key, size);
    this.#pace = upload ? null : new ReadPace(this.#socket, pace, size);
    this.#text = this.#status = '';
    this.#movedMs = performance.now();
    return new Promise((resolve) => {
      let sent = 0;
      const watch = setInterval(() => {
        if (this.#socket.bytesWritten !== sent) this.#movedMs = performance.now();
        sent = this.#socket.bytesWritten;
        const stillMs = performance.now() - this.#movedMs;
        if (stillMs > stuckMs) this.#gone(`nothing moved for ${Math.round(stillMs)} ms`);
      }, 1000);
      this.#settle = (outcome) => {
        clearInterval(watch);
        resolve(outcome);
      };
      this.#socket.write(headOf(transfer), 'latin1');
      if (upload) {
        void writeBody(this.#socket, transfer, leaveAt).then(() => {
          if (leaveAt < size) this.#leave();
        });
      }
    });
  }

  #onHead(head: string): void {
    this.#status = head.slice(9, 12);
    if (/\r\nconnection: close\r\n/i.test(head)) this.over = true;
  }

  #onBody(bytes: Buffer, start: number, end: number): void {
    const check = this.#check;
    if (check === null || this.#status !== '200') {
      this.#text += bytes.toString('latin1', start, end);
      return;
    }
    check.take(bytes, start, end);
    if (check.bytes >= this.#transfer.leaveAt) this.#leave();
    else this.#pace!.read(check.bytes);
  }

  #onEnd(): void {
    const fault =
      this.#status !== '200'
        ? `${this.#status} ${this.#text.slice(0, 300)}`
        : this.#check === null
          ? (JSON.parse(this.#text) as { fault: string | null }).fault
          : this.#check.fault;
    if (fault !== null) this.over = true;
    this.#end(fault === null ? 'done' : { failed: fault });
  }

  /** Half of them with a reset. */
  #leave(): void {
    this.#end('left');
    this.over = true;
    if (Math.random() < 0.5) this.#socket.destroy();
    else this.#socket.resetAndDestroy();
  }

  #end(outcome: Outcome): void {
    const settle = this.#settle;
    this.#settle = null;
    settle?.(outcome);
  }

  #gone(why: string): void {
    this.over = true;
    const got = this.#check === null ? '' : `, ${this.#check.bytes} bytes were here`;
    const sent = `, ${this.#socket.bytesWritten} were sent`;
    this.#end({ failed: `${why}, status ${this.#status || 'not here'}${got}${sent}` });
    this.#socket.destroy();
  }

  close(): void {
    this.over = true;
    this.#socket.end();
  }
}

/** How many of each size move at a time; small requests go on beside them. */
const lanesOf: Record<(typeof sizesMb)[number], number> = { 1: 4, 5: 4, 20: 4, 100: 2 };
const smallCallers = 4;

export class BodyCallers {
  readonly tally = new TransferTally();
  readonly #port: number;
  readonly #lanes: Lanes;
  readonly #small: Promise<void>[] = [];
  readonly #connections = new Map<object, BodyConnection>();
  readonly #goesOn: () => boolean;
  #running = true;

  /** `goesOn`: false when the gateway is gone and nothing can be learned any more. */
  constructor(port: number, goesOn: () => boolean) {
    this.#port = port;
    this.#goesOn = goesOn;
    this.#lanes = new Lanes((transfer, lane) => this.#move(transfer, lane));
  }

  /**
   * One transfer at a time, as fast as all sides can, while `more` says so: a race between a write and
   * a reader that empties the buffer meanwhile is lost only by processes that have nothing else to do,
   * and most often while the buffers of a new connection are small.
   */
  async alone(more: () => boolean): Promise<void> {
    const decks = sizesMb.map((mb) => new Deck(['gateway'], mb * megabyte));
    const lane = {};
    for (let count = 0; more() && this.#goesOn(); count++) {
      const transfer = decks[count % decks.length]!.next();
      const leaveAt = transfer.size + 1;
      const quick = { pace: 'large', farPace: 'large', close: count % 8 !== 0, leaveAt } as const;
      await this.#move({ ...transfer, ...quick }, lane);
    }
    this.#connections.get(lane)?.close();
  }

  /** All at once. */
  start(): void {
    for (const mb of sizesMb) {
      const deck = new Deck(['gateway'], mb * megabyte);
      // The first two of a deck: one down, one up.
      for (let i = 0; i < lanesOf[mb]; i++) this.#lanes.start(deck, 2, this.#goesOn);
    }
    for (let i = 0; i < smallCallers; i++) this.#small.push(this.#askSmall());
  }

  async #move(transfer: Transfer, lane: object): Promise<void> {
    const had = this.#connections.get(lane);
    const connection = had === undefined || had.over ? new BodyConnection(this.#port) : had;
    this.#connections.set(lane, connection);
    const outcome = await connection.move(transfer);
    if (outcome === 'done') this.tally.done(transfer);
    else if (outcome === 'left') this.tally.left(transfer);
    else this.tally.failedWith(transfer, outcome.failed);
    if (transfer.close) connection.close();
  }

  /** Small answers take part in the races of long ones: they share the loop and its buffers. */
  async #askSmall(): Promise<void> {
    const lane = {};
    while (this.#running && this.#goesOn()) {
      const upload = Math.random() < 0.3;
      await this.#move(
        {
          ...{ via: 'gateway', upload, chunked: Math.random() < 0.5, pace: 'large' },
          ...{ size: 1 + Math.floor(Math.random() * 20_000), key: Math.floor(Math.random() * 1e9) },
          ...{ farPace: 'large', close: Math.random() < 0.1, leaveAt: Number.POSITIVE_INFINITY },
        },
        lane,
      );
      await pause(Math.random() * 10);
    }
  }

  /** Lets what is under way end. */
  async stop(): Promise<void> {
    await this.#lanes.stop();
    this.#running = false;
    await Promise.all(this.#small);
    for (const connection of this.#connections.values()) connection.close();
  }
}
