/**
 * Callers of the soak: raw sockets that never try again, so whatever the gateway loses shows, and each
 * failure is one of three: an answer that says what is wrong, lost, or lost with a worker that was
 * killed while it had the connection.
 */
import { connect, type Socket } from 'node:net';
import { pause } from './storm-phases.ts';

/** `get-new` opens a connection for each request; the others keep theirs. */
export type CallerKind = 'get' | 'get-new' | 'post' | 'stream';

export interface Tally {
  ok: number;
  /** Failures that the caller was told: an error answer, or an error event in its stream. */
  told: Record<string, number>;
  /** A connection that ended without an answer, and was on no killed worker. */
  lost: Record<string, number>;
  /** The same on a worker that was killed. */
  killed: number;
}

const newTally = (): Tally => ({ ok: 0, told: {}, lost: {}, killed: 0 });
const answerMs = 30_000;
const bodyBytes = 500;

type Outcome = { kind: 'ok' | 'told' | 'lost'; why: string; keep: boolean };

const streamBody = JSON.stringify({
  model: 'any',
  stream: true,
  messages: [{ role: 'user', content: 'hi' }],
});

function requestOf(kind: CallerKind): string {
  if (kind === 'stream') {
    const fields = `Content-Type: application/json\r\nContent-Length: ${streamBody.length}`;
    return `POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\n${fields}\r\n\r\n${streamBody}`;
  }
  const path = `/?size=${bodyBytes}`;
  if (kind === 'post') return `POST ${path} HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\nbody`;
  return `GET ${path} HTTP/1.1\r\nHost: t\r\n\r\n`;
}

/** What a whole response says, or null while it is not whole. */
function readResponse(text: string, kind: CallerKind): Outcome | null {
  const headEnd = text.indexOf('\r\n\r\n');
  if (headEnd < 0) return null;
  const head = text.slice(0, headEnd);
  const body = text.slice(headEnd + 4);
  const length = /\r\ncontent-length: (\d+)/i.exec(head)?.[1];
  if (length === undefined ? !body.endsWith('0\r\n\r\n') : body.length < Number(length))
    return null;
  const keep = !/\r\nconnection: close/i.test(head);
  const status = head.slice(9, 12);
  if (status !== '200') {
    const code = /\r\nx-onehop-error: (\S+)/i.exec(head)?.[1] ?? 'no code';
    return { kind: code === 'no code' ? 'lost' : 'told', why: `${status} ${code}`, keep };
  }
  if (kind !== 'stream') {
    const whole = body.length === bodyBytes;
    return { kind: whole ? 'ok' : 'lost', why: `a body of ${body.length}`, keep };
  }
  if (body.includes('data: [DONE]')) return { kind: 'ok', why: '', keep };
  return {
    kind: body.includes('"error"') ? 'told' : 'lost',
    why: 'a stream that ends early',
    keep,
  };
}

/** One connection of a caller. */
class CallerConnection {
  readonly openedMs = performance.now();
  readonly #socket: Socket;
  localPort = 0;
  over = false;
  #text = '';
  #kind: CallerKind = 'get';
  #settle: ((outcome: Outcome) => void) | null = null;

  constructor(port: number) {
    this.#socket = connect(port, '127.0.0.1');
    this.#socket.setNoDelay(true);
    this.#socket.on('connect', () => {
      this.localPort = this.#socket.localPort ?? 0;
    });
    this.#socket.on('data', (bytes) => {
      this.#text += (bytes as Buffer).toString('latin1');
      const outcome = readResponse(this.#text, this.#kind);
      if (outcome !== null) this.#end(outcome);
    });
    this.#socket.on('error', (error) => this.#gone(error.message));
    this.#socket.on('close', () => this.#gone('closed'));
  }

  send(kind: CallerKind): Promise<Outcome> {
    this.#text = '';
    this.#kind = kind;
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#gone(`no answer in ${answerMs} ms`), answerMs);
      this.#settle = (outcome) => {
        clearTimeout(timer);
        resolve(outcome);
      };
      this.#socket.write(requestOf(kind), 'latin1');
    });
  }

  #end(outcome: Outcome): void {
    const settle = this.#settle;
    this.#settle = null;
    settle?.(outcome);
  }

  #gone(why: string): void {
    this.over = true;
    const had = this.#text === '' ? 'without an answer' : 'within the answer';
    // A stream that was cut after its error event has told.
    const told = this.#kind === 'stream' && this.#text.includes('data: {"error"');
    this.#end({ kind: told ? 'told' : 'lost', why: `${why}, ${had}`, keep: false });
    this.#socket.destroy();
  }

  close(): void {
    this.over = true;
    this.#socket.end();
  }
}

/** Says whether a connection was on a worker that was killed. */
export type WasKilled = (connection: { localPort: number; openedMs: number }) => boolean;

export class Callers {
  readonly tallies: Record<CallerKind, Tally> = {
    get: newTally(),
    'get-new': newTally(),
    post: newTally(),
    stream: newTally(),
  };
  readonly #port: number;
  readonly #wasKilled: WasKilled;
  readonly #loops: Promise<void>[] = [];
  #running = true;

  constructor(port: number, wasKilled: WasKilled) {
    this.#port = port;
    this.#wasKilled = wasKilled;
  }

  /** Starts `count` callers that pause for about `pauseMs` between two requests. */
  start(kind: CallerKind, count: number, pauseMs: number): void {
    for (let i = 0; i < count; i++) this.#loops.push(this.#loop(kind, pauseMs));
  }

  get requests(): number {
    const sum = (counts: Record<string, number>): number =>
      Object.values(counts).reduce((total, count) => total + count, 0);
    return Object.values(this.tallies).reduce(
      (total, { ok, told, lost, killed }) => total + ok + sum(told) + sum(lost) + killed,
      0,
    );
  }

  async stop(): Promise<void> {
    this.#running = false;
    await Promise.all(this.#loops);
  }

  async #loop(kind: CallerKind, pauseMs: number): Promise<void> {
    let connection: CallerConnection | null = null;
    await pause(Math.random() * pauseMs);
    while (this.#running) {
      if (connection === null || connection.over) connection = new CallerConnection(this.#port);
      const outcome = await connection.send(kind);
      this.#count(kind, outcome, connection);
      if (!outcome.keep || kind === 'get-new') {
        connection.close();
        connection = null;
      }
      await pause(pauseMs * (0.5 + Math.random()));
    }
    connection?.close();
  }

  #count(kind: CallerKind, outcome: Outcome, connection: CallerConnection): void {
    const tally = this.tallies[kind];
    if (outcome.kind === 'ok') tally.ok++;
    else if (outcome.kind === 'told') tally.told[outcome.why] = (tally.told[outcome.why] ?? 0) + 1;
    else if (this.#wasKilled(connection)) tally.killed++;
    else tally.lost[outcome.why] = (tally.lost[outcome.why] ?? 0) + 1;
  }
}
