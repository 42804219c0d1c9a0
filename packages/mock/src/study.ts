/**
 * The upstream of the study: `GET /request_response/` answers `{"message":"<random UUID v4>"}`.
 * It is the ceiling of everything that is measured against it, so it sits right on the transport
 * and the request parser: one read, one write, and per request nothing but a UUID written into a
 * response that is prepared otherwise.
 */
import { RingQueue } from 'onehop/core';
import { errorReply, Read, type RequestHead, RequestParser, requestLimits } from 'onehop/http1';
import {
  type Listener,
  transport as runtimeTransport,
  type Socket,
  type SocketHandlers,
  type Transport,
  WriteStatus,
} from 'onehop/transport';
import { RandomSource, uuidLength, writeUuid } from './uuid.ts';

export interface StudyUpstreamOptions {
  /** Default 0: a free port. */
  port?: number;
  /** Default 127.0.0.1. */
  host?: string;
  /** Time each answer of `/request_response/` takes, in milliseconds. Default 0. */
  latencyMs?: number;
  transport?: Transport;
}

/** What the upstream saw since the last reset; its own `/_onehop/` requests are not counted. */
export interface UpstreamCounters {
  requests: number;
  /** Connections opened in the window that did not serve for counters alone. */
  connectionsOpened: number;
  /**
   * Most requests under way at a time. Without latency: most requests that were found waiting in
   * one turn of the event loop.
   */
  concurrencyPeak: number;
  /** Connections open now, whenever they were opened. */
  connectionsOpen: number;
}

export interface StudyUpstream {
  readonly host: string;
  readonly port: number;
  counters(): UpstreamCounters;
  resetCounters(): void;
  /** Stops listening and drops open connections. */
  close(): Promise<void>;
}

const path = '/request_response/';
const pathBytes = Buffer.from(path);
const slots = 64;

/** One prepared response after the other, so that a batch of answers is one range to write. */
class ResponseBlock {
  readonly slotBytes: number;
  readonly uuidAt: number;
  readonly bytes: Buffer;

  constructor(date: string) {
    const before =
      'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 50\r\n' +
      `Date: ${date}\r\n\r\n{"message":"`;
    const one = `${before}${'0'.repeat(uuidLength)}"}`;
    this.slotBytes = one.length;
    this.uuidAt = before.length;
    this.bytes = Buffer.from(one.repeat(slots), 'latin1');
  }
}

class StudyConnection {
  readonly parser = new RequestParser(requestLimits);
  socket: Socket<StudyConnection> | null = null;
  window = 0;
  counted = false;
  closed = false;
  /** End after the answers under way. */
  ending = false;
  /** Requests whose latency has not passed. */
  pending = 0;
}

class Upstream {
  readonly latencyMs: number;
  readonly transport: Transport;
  listener: Listener | null = null;
  readonly connections = new Set<StudyConnection>();
  private readonly random = new RandomSource();
  private block = new ResponseBlock(new Date().toUTCString());
  private readonly dateTimer: NodeJS.Timeout;
  /** Answers in the block that are due to be written. */
  private batch = 0;
  private window = 0;
  private requests = 0;
  private connectionsOpened = 0;
  private connectionsOpen = 0;
  private concurrencyPeak = 0;
  private inFlight = 0;
  private turnRequests = 0;
  private readonly waiting = new RingQueue<StudyConnection>(1024);
  private readonly waitingWants = new RingQueue<Want>(1024);
  private readonly waitingDueMs = new RingQueue<number>(1024);
  private timerSet = false;

  constructor(options: StudyUpstreamOptions) {
    this.latencyMs = options.latencyMs ?? 0;
    this.transport = options.transport ?? runtimeTransport;
    this.dateTimer = setInterval(() => {
      this.block = new ResponseBlock(new Date().toUTCString());
    }, 1000);
    this.dateTimer.unref();
  }

  readonly handlers: SocketHandlers<StudyConnection> = {
    open: (socket) => this.opened(socket),
    data: (socket, bytes) => this.received(socket, bytes),
    drain: () => {},
    end: (socket) => {
      socket.state.ending = true;
      if (socket.state.pending === 0) socket.end();
    },
    close: (socket) => this.closed(socket.state),
  };

  private opened(socket: Socket<StudyConnection>): void {
    const connection = socket.state;
    connection.socket = socket;
    connection.window = this.window;
    connection.parser.begin();
    this.connections.add(connection);
    this.count(connection);
    this.connectionsOpened++;
  }

  private count(connection: StudyConnection): void {
    connection.counted = true;
    this.connectionsOpen++;
  }

  private closed(connection: StudyConnection): void {
    connection.closed = true;
    this.connections.delete(connection);
    if (connection.counted) this.connectionsOpen--;
    this.inFlight -= connection.pending;
  }

  private received(socket: Socket<StudyConnection>, bytes: Uint8Array): void {
    const connection = socket.state;
    if (connection.ending) return;
    const { parser } = connection;
    const end = bytes.length;
    let at = 0;
    let want: Want = Want.Answer;
    for (;;) {
      const read = parser.read(bytes, at, end);
      at = parser.position;
      if (read === Read.Head) {
        want = wantOf(parser.head);
        if (!parser.head.keepAlive) want |= Want.Close;
      } else if (read === Read.End) {
        this.answer(socket, connection, want);
        if ((want & Want.Close) !== 0) break;
        parser.begin();
        if (at === end) break;
      } else if (read === Read.NeedMore) {
        break;
      } else if (read === Read.Error) {
        this.flush(socket);
        const reply = errorReply(parser.errorCode);
        socket.write(reply, 0, reply.length);
        connection.ending = true;
        socket.end();
        return;
      }
    }
    if (this.batch > 0) this.flush(socket);
    if (connection.ending && connection.pending === 0) socket.end();
  }

  private answer(socket: Socket<StudyConnection>, connection: StudyConnection, want: Want): void {
    if ((want & Want.Close) !== 0) connection.ending = true;
    if ((want & Want.Control) === 0) {
      this.arrived(connection);
      if (this.latencyMs > 0) {
        this.defer(connection, want);
        return;
      }
    }
    if (want === Want.Answer) {
      if (this.batch === slots) this.flush(socket);
      this.addAnswer();
    } else {
      this.flush(socket);
      socket.writeLatin1(this.text(connection, want));
    }
  }

  private arrived(connection: StudyConnection): void {
    this.requests++;
    if (!connection.counted) {
      this.count(connection);
      if (connection.window === this.window) this.connectionsOpened++;
    }
    if (this.latencyMs > 0) {
      if (++this.inFlight > this.concurrencyPeak) this.concurrencyPeak = this.inFlight;
      return;
    }
    if (this.turnRequests === 0) setImmediate(this.endTurn);
    if (++this.turnRequests > this.concurrencyPeak) this.concurrencyPeak = this.turnRequests;
  }

  private readonly endTurn = (): void => {
    this.turnRequests = 0;
  };

  private addAnswer(): void {
    const { block } = this;
    writeUuid(this.random, block.bytes, this.batch * block.slotBytes + block.uuidAt);
    this.batch++;
  }

  /** Writes the answers gathered for this socket. */
  private flush(socket: Socket<StudyConnection>): void {
    if (this.batch === 0) return;
    const { block } = this;
    const status = socket.write(block.bytes, 0, this.batch * block.slotBytes);
    this.batch = 0;
    // Queued bytes are the transport's until they are sent.
    if (status === WriteStatus.Queued) this.block = new ResponseBlock(new Date().toUTCString());
  }

  // Latency. It is the same for all, so answers fall due in the order of their requests.

  private defer(connection: StudyConnection, want: Want): void {
    connection.pending++;
    this.waiting.push(connection);
    this.waitingWants.push(want);
    this.waitingDueMs.push(this.transport.clock.nowMs() + this.latencyMs);
    if (!this.timerSet) {
      this.timerSet = true;
      this.transport.clock.setTimer(this.onDue, this.latencyMs);
    }
  }

  private readonly onDue = (): void => {
    this.timerSet = false;
    for (;;) {
      const dueMs = this.waitingDueMs.peek();
      if (dueMs === undefined) return;
      const restMs = dueMs - this.transport.clock.nowMs();
      if (restMs > 0) {
        this.timerSet = true;
        this.transport.clock.setTimer(this.onDue, restMs);
        return;
      }
      this.waitingDueMs.shift();
      const want = this.waitingWants.shift()!;
      const connection = this.waiting.shift()!;
      if (connection.closed) continue;
      connection.pending--;
      this.inFlight--;
      const socket = connection.socket!;
      if (want === Want.Answer) {
        this.addAnswer();
        this.flush(socket);
      } else {
        socket.writeLatin1(this.text(connection, want));
      }
      if (connection.ending && connection.pending === 0) socket.end();
    }
  };

  // Everything that is not the one answer.

  private text(connection: StudyConnection, want: Want): string {
    const close = (want & Want.Close) !== 0;
    const head = (want & Want.Head) !== 0;
    if ((want & Want.Control) !== 0) this.uncount(connection);
    if ((want & (Want.Control | Want.WrongMethod)) === Want.Control) {
      if ((want & Want.Reset) !== 0) this.resetCounters();
      return textResponse(200, 'OK', '', JSON.stringify(this.counters()), close, head);
    }
    if ((want & Want.NotFound) !== 0) {
      return textResponse(404, 'Not Found', '', '{"detail":"Not Found"}', close, head);
    }
    if ((want & Want.WrongMethod) !== 0) {
      const allow = `Allow: ${(want & Want.Post) !== 0 ? 'POST' : 'GET, HEAD'}\r\n`;
      const body = '{"detail":"Method Not Allowed"}';
      return textResponse(405, 'Method Not Allowed', allow, body, close, head);
    }
    const uuid = new Uint8Array(uuidLength);
    writeUuid(this.random, uuid, 0);
    const body = `{"message":"${Buffer.from(uuid).toString('latin1')}"}`;
    return textResponse(200, 'OK', '', body, close, head);
  }

  /** A connection that asked for the counters is not one of the clients under study. */
  private uncount(connection: StudyConnection): void {
    if (!connection.counted) return;
    connection.counted = false;
    this.connectionsOpen--;
    if (connection.window === this.window) this.connectionsOpened--;
  }

  counters(): UpstreamCounters {
    return {
      requests: this.requests,
      connectionsOpened: this.connectionsOpened,
      concurrencyPeak: this.concurrencyPeak,
      connectionsOpen: this.connectionsOpen,
    };
  }

  resetCounters(): void {
    this.window++;
    this.requests = 0;
    this.connectionsOpened = 0;
    this.concurrencyPeak = this.inFlight;
  }

  async close(): Promise<void> {
    clearInterval(this.dateTimer);
    const freed = this.listener?.close();
    for (const connection of this.connections) connection.socket?.destroy();
    await freed;
  }
}

/** What a request is answered with; flags that are put together. */
const Want = {
  Answer: 0,
  Close: 1,
  Head: 2,
  NotFound: 4,
  WrongMethod: 8,
  /** With WrongMethod: POST is the right one. */
  Post: 16,
  Control: 32,
  /** With Control: reset first. */
  Reset: 64,
} as const;
type Want = number;

function wantOf(head: RequestHead): Want {
  const { bytes, pathStart } = head;
  const length = head.pathEnd - pathStart;
  if (length === pathBytes.length && head.methodEnd - head.methodStart === 3) {
    let i = 0;
    while (i < length && bytes[pathStart + i] === pathBytes[i]) i++;
    if (i === length && isGet(bytes, head.methodStart)) return Want.Answer;
  }
  return slowWantOf(head.method, head.path);
}

/** For a method of three bytes. */
function isGet(bytes: Uint8Array, at: number): boolean {
  return bytes[at] === 0x47 && bytes[at + 1] === 0x45 && bytes[at + 2] === 0x54;
}

function slowWantOf(method: string, target: string): Want {
  const query = target.indexOf('?');
  const route = query < 0 ? target : target.slice(0, query);
  const head = method === 'HEAD' ? Want.Head : 0;
  const get = method === 'GET' || head !== 0;
  switch (route) {
    case path:
      return head | (get ? Want.Answer : Want.WrongMethod);
    case '/_onehop/upstream/':
      return head | (get ? Want.Control : Want.WrongMethod | Want.Control);
    case '/_onehop/upstream/reset/':
      return method === 'POST'
        ? Want.Control | Want.Reset
        : head | Want.WrongMethod | Want.Post | Want.Control;
    default:
      return head | Want.NotFound;
  }
}

function textResponse(
  status: number,
  phrase: string,
  fields: string,
  body: string,
  close: boolean,
  head: boolean,
): string {
  return (
    `HTTP/1.1 ${status} ${phrase}\r\nContent-Type: application/json\r\n` +
    `Content-Length: ${body.length}\r\nDate: ${new Date().toUTCString()}\r\n` +
    `${fields}${close ? 'Connection: close\r\n' : ''}\r\n${head ? '' : body}`
  );
}

/**
 * Starts the study's upstream. Rejects with the transport's ADDRESS_IN_USE or LISTEN_FAILED.
 */
export async function startStudyUpstream(
  options: StudyUpstreamOptions = {},
): Promise<StudyUpstream> {
  const upstream = new Upstream(options);
  const { port = 0, host = '127.0.0.1' } = options;
  const listener = await upstream.transport.listen(
    { port, host, backlog: 4096 },
    upstream.handlers,
    () => new StudyConnection(),
  );
  upstream.listener = listener;
  return {
    host: listener.host,
    port: listener.port,
    counters: () => upstream.counters(),
    resetCounters: () => upstream.resetCounters(),
    close: () => upstream.close(),
  };
}
