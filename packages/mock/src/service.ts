/**
 * What the `plain` and the `openai` stand-ins have in common: reading requests whole, answering at a
 * pace, misbehaving on demand, and telling afterwards what really arrived.
 */

import { type Clock, OnehopError } from 'onehop/core';
import { reasonOf } from 'onehop/http1';
import {
  createServer,
  type Exchange,
  fieldBlock,
  type Server,
  type ServerHandler,
  unknownLength,
} from 'onehop/server';
import { transport as runtimeTransport, type Transport, WriteStatus } from 'onehop/transport';
import { type Fault, isRaw, parseFault, planFault } from './faults.ts';
import { type LatencySpec, noLatency, sampleLatency } from './latency.ts';
import { RandomSource } from './uuid.ts';

export interface ServiceOptions {
  /** Default 0: a free port. */
  port?: number;
  /** Default 127.0.0.1. */
  host?: string;
  /** Time before the first byte of each answer. Default none. */
  latency?: LatencySpec;
  /** Makes latencies, tokens and the choice of faulty requests reproducible. */
  seed?: number;
  /** Fault of requests that choose none themselves. */
  fault?: Fault;
  /** Share of those requests that get it, 0 to 1. Default 1. */
  faultRate?: number;
  transport?: Transport;
}

export interface MockRequest {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly authorization: string | null;
  readonly body: Buffer;
  readonly fault: Fault | null;
}

/** An answer in pieces. */
export interface Reply {
  readonly status: number;
  /** Name, value, name, value … */
  readonly fields: readonly string[];
  readonly parts: readonly Buffer[];
  readonly chunked: boolean;
  /** Pause before each part but the first; none by default. */
  readonly gap?: LatencySpec;
  /** Instead of the service's latency. */
  readonly latency?: LatencySpec;
}

/** An exchange that the peer gave up, as the stand-in saw it. */
export interface SeenAbort {
  readonly method: string;
  readonly path: string;
  /** `request`: it was not complete. `waiting`: nothing was sent yet. `response`: in the middle. */
  readonly phase: 'request' | 'waiting' | 'response';
  /** Bytes of the response body that were sent. */
  readonly bytesSent: number;
  /** When the close was seen, in milliseconds since 1970 with a fraction. */
  readonly atMs: number;
}

export interface ServiceCounters {
  /** Heads that arrived. */
  requests: number;
  /** Requests that arrived to the end. */
  requestsComplete: number;
  /** Requests that broke off. */
  requestsPartial: number;
  requestBodyBytes: number;
  connectionsOpened: number;
  connectionsOpen: number;
  concurrencyPeak: number;
  concurrency: number;
  /** Answers that were sent to the end. */
  responses: number;
  faults: number;
  /** Bytes that came on a connection whose answer was a fault, so nobody reads them. */
  strayBytes: number;
  aborts: number;
  /** The last 10,000 of them. */
  abortsSeen: SeenAbort[];
}

export interface Service {
  readonly host: string;
  readonly port: number;
  counters(): ServiceCounters;
  resetCounters(): void;
  close(): Promise<void>;
}

const abortsKept = 10_000;
const bodiless = Buffer.alloc(0);

/** What one exchange carries through its life. */
class Work {
  method = '';
  path = '';
  query: URLSearchParams = new URLSearchParams();
  authorization: string | null = null;
  faultText: string | null = null;
  body: Buffer[] = [];
  counted = false;
  /** The stand-in itself ended it. */
  done = false;
  reply: Reply | null = null;
  part = 0;
  waitsForDrain = false;
  rawBytes = 0;
}

/** A JSON answer. */
export function jsonReply(status: number, value: unknown, fields: readonly string[] = []): Reply {
  return {
    status,
    fields: ['Content-Type', 'application/json', ...fields],
    parts: [Buffer.from(JSON.stringify(value))],
    chunked: false,
  };
}

/** Runs one service: `answer` is called once per complete request. */
export class ServiceHost implements Service {
  host = '';
  port = 0;
  readonly random: RandomSource;
  private readonly server: Server;
  private readonly clock: Clock;
  private readonly options: ServiceOptions;
  private readonly answer: (request: MockRequest) => Reply;
  private tally = emptyTally();

  constructor(options: ServiceOptions, answer: (request: MockRequest, host: ServiceHost) => Reply) {
    const transport = options.transport ?? runtimeTransport;
    this.options = options;
    this.random = new RandomSource(options.seed);
    this.answer = (request) => answer(request, this);
    this.clock = transport.clock;
    this.server = createServer<Work>({
      transport,
      handler: this.handler(),
      limits: {
        connectionsPerAddressMax: Number.POSITIVE_INFINITY,
        requestsPerConnectionMax: Number.POSITIVE_INFINITY,
      },
    });
  }

  async listen(): Promise<this> {
    const { port = 0, host = '127.0.0.1' } = this.options;
    const listener = await this.server.listen({ port, host, backlog: 4096 });
    this.host = listener.host;
    this.port = listener.port;
    return this;
  }

  counters(): ServiceCounters {
    return { ...this.tally, connectionsOpen: this.server.counters.connectionsOpen };
  }

  resetCounters(): void {
    const { concurrency } = this.tally;
    this.tally = { ...emptyTally(), concurrency, concurrencyPeak: concurrency };
  }

  close(): Promise<void> {
    return this.server.close({ drainMs: 0 });
  }

  private handler(): ServerHandler<Work> {
    return {
      onRequest: (exchange) => this.onRequest(exchange),
      onBody: (exchange, bytes, start, end) => {
        this.tally.requestBodyBytes += end - start;
        exchange.state!.body.push(Buffer.from(bytes.subarray(start, end)));
      },
      onEnd: (exchange) => this.onEnd(exchange),
      onDrain: (exchange) => this.onDrain(exchange),
      onFinish: (exchange) => this.onFinish(exchange),
    };
  }

  private onRequest(exchange: Exchange<Work>): void {
    const head = exchange.request;
    const work = new Work();
    const target = head.path;
    const mark = target.indexOf('?');
    work.method = head.method;
    work.path = mark < 0 ? target : target.slice(0, mark);
    work.query = new URLSearchParams(mark < 0 ? '' : target.slice(mark + 1));
    work.authorization = head.get('authorization');
    work.faultText = head.get('x-mock-fault') ?? work.query.get('fault');
    exchange.state = work;
    if (work.path.startsWith('/_onehop/')) return;
    work.counted = true;
    const { tally } = this;
    tally.requests++;
    if (exchange.connectionRequests === 1) tally.connectionsOpened++;
    if (++tally.concurrency > tally.concurrencyPeak) tally.concurrencyPeak = tally.concurrency;
  }

  private onEnd(exchange: Exchange<Work>): void {
    const work = exchange.state!;
    if (!work.counted) {
      this.send(exchange, this.control(work));
      return;
    }
    this.tally.requestsComplete++;
    let fault: Fault | null;
    try {
      fault = this.chooseFault(work);
    } catch (error) {
      this.send(exchange, jsonReply(400, { error: (error as Error).message }));
      return;
    }
    const reply = this.answer({ ...work, body: joined(work.body), fault });
    work.body = [];
    if (fault !== null) this.tally.faults++;
    const delayMs = sampleLatency(reply.latency ?? this.options.latency ?? noLatency, this.random);
    const start = (): void => {
      if (exchange.finished) return;
      if (fault !== null && isRaw(fault)) this.sendRaw(exchange, reply, fault);
      else {
        if (fault?.name === 'close') exchange.closeAfter();
        this.send(exchange, reply);
      }
    };
    if (delayMs > 0) this.clock.setTimer(start, delayMs);
    else start();
  }

  private chooseFault(work: Work): Fault | null {
    if (work.faultText !== null) {
      return work.faultText === 'none' ? null : parseFault(work.faultText);
    }
    const { fault, faultRate = 1 } = this.options;
    if (fault === undefined) return null;
    return faultRate >= 1 || this.random.nextUnit() < faultRate ? fault : null;
  }

  private control(work: Work): Reply {
    const route = `${work.method} ${work.path}`;
    if (route === 'POST /_onehop/upstream/reset/') this.resetCounters();
    else if (route !== 'GET /_onehop/upstream/') return jsonReply(404, { error: 'no such route' });
    const counters = this.counters();
    counters.connectionsOpen--; // the one that asks
    return jsonReply(200, counters);
  }

  // Ordinary answers.

  private send(exchange: Exchange<Work>, reply: Reply): void {
    const fields = fieldBlock(reply.fields);
    const { parts } = reply;
    if (parts.length <= 1 && !reply.chunked) {
      exchange.state!.done = true;
      exchange.respond(reply.status, fields, parts[0] ?? bodiless);
      return;
    }
    const length = parts.reduce((sum, part) => sum + part.length, 0);
    exchange.start(reply.status, fields, reply.chunked ? unknownLength : length);
    exchange.state!.reply = reply;
    this.sendParts(exchange);
  }

  private readonly sendParts = (exchange: Exchange<Work>): void => {
    const work = exchange.state!;
    const { parts, gap } = work.reply!;
    while (!exchange.finished) {
      const part = parts[work.part++];
      const isLast = work.part >= parts.length;
      if (part === undefined || isLast) {
        work.done = true;
        exchange.endWith(part ?? bodiless);
        return;
      }
      const status = exchange.write(part);
      const gapMs = gap === undefined ? 0 : sampleLatency(gap, this.random);
      if (gapMs > 0) {
        this.clock.setTimer(() => this.sendParts(exchange), gapMs);
        return;
      }
      if (status === WriteStatus.Queued) {
        work.waitsForDrain = true;
        return;
      }
    }
  };

  private onDrain(exchange: Exchange<Work>): void {
    const work = exchange.state;
    if (work === undefined || !work.waitsForDrain) return;
    work.waitsForDrain = false;
    this.sendParts(exchange);
  }

  // Faults.

  private sendRaw(exchange: Exchange<Work>, reply: Reply, fault: Fault): void {
    const work = exchange.state!;
    const body = Buffer.concat([...reply.parts]);
    let head = `HTTP/1.1 ${reply.status} ${reasonOf(reply.status)}\r\n`;
    head += `${fieldBlock(reply.fields).text}Date: ${new Date().toUTCString()}\r\n`;
    const plan = planFault(fault, { head, body, chunked: reply.chunked });
    exchange.takeOver({
      data: (_, __, start, end) => {
        this.tally.strayBytes += end - start;
      },
      drain: () => {},
      end: () => exchange.end(),
    });
    let next = 0;
    const step = (): void => {
      if (exchange.finished) return;
      const { steps } = plan;
      while (next < steps.length) {
        exchange.write(steps[next++]!.bytes);
        const afterMs = steps[next]?.afterMs ?? 0;
        if (afterMs > 0) {
          this.clock.setTimer(step, afterMs);
          return;
        }
      }
      if (plan.last === 'hang') return;
      if (plan.lastAfterMs > 0) this.clock.setTimer(finish, plan.lastAfterMs);
      else finish();
    };
    const finish = (): void => {
      if (exchange.finished) return;
      work.done = true;
      if (plan.last === 'reset') exchange.abort();
      else exchange.end();
    };
    const firstMs = plan.steps[0]?.afterMs ?? 0;
    if (firstMs > 0) this.clock.setTimer(step, firstMs);
    else step();
  }

  private onFinish(exchange: Exchange<Work>): void {
    const work = exchange.state;
    if (work === undefined || !work.counted) return;
    const { tally } = this;
    tally.concurrency--;
    if (!exchange.requestEnded) tally.requestsPartial++;
    if (work.done) {
      tally.responses++;
      return;
    }
    tally.aborts++;
    const sent = exchange.responseBytes;
    tally.abortsSeen.push({
      method: work.method,
      path: work.path,
      phase: !exchange.requestEnded ? 'request' : exchange.responseStarted ? 'response' : 'waiting',
      bytesSent: sent,
      atMs: performance.timeOrigin + performance.now(),
    });
    if (tally.abortsSeen.length > abortsKept) tally.abortsSeen.shift();
  }
}

function joined(parts: readonly Buffer[]): Buffer {
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
}

function emptyTally(): ServiceCounters {
  return {
    requests: 0,
    requestsComplete: 0,
    requestsPartial: 0,
    requestBodyBytes: 0,
    connectionsOpened: 0,
    connectionsOpen: 0,
    concurrencyPeak: 0,
    concurrency: 0,
    responses: 0,
    faults: 0,
    strayBytes: 0,
    aborts: 0,
    abortsSeen: [],
  };
}

/** The message of an error that is the fault of whoever configured the stand-in. */
export function argumentError(message: string): OnehopError {
  return new OnehopError('ARGUMENT_INVALID', message, { phase: 'config' });
}
