/**
 * Compiles the generator before it measures. A fresh process interprets its first thousands of
 * requests, slower and with compiler threads beside it that take its core for milliseconds at a
 * time: a short run would show that as latency of the server. So the engine first runs against a
 * transport in memory that answers at once; no byte leaves the process.
 */
import type { Clock } from 'onehop/core';
import { type Socket, type SocketHandlers, WriteStatus } from 'onehop/transport';
import { LoadEngine } from './engine.ts';
import { http1Wire, type LoadTransport } from './http1-wire.ts';
import { defaultPlan } from './plan.ts';
import { Recorder } from './recorder.ts';
import { Origins, prepareRequests } from './request.ts';
import type { LoadPlan } from './types.ts';

const primeConnections = 50;
const primeRequests = 20_000;
/** Of a long expected body so much will do: the whole 20,000 times is 100 GB for one of 5 MB. */
const primeBodyBytesMax = 16 * 1024;
/** Answers between two turns of the event loop, in which finished code is put in place. */
const answersPerTurn = 1_000;

const head = (fields: string): string =>
  `HTTP/1.1 200 OK\r\ndate: Mon, 01 Jan 2024 00:00:00 GMT\r\ncontent-type: text/plain\r\n${fields}\r\n\r\n`;

/** One answer with a length, one in chunks. */
function answersWith(body: Uint8Array): Buffer[] {
  const size = body.length;
  return [
    Buffer.concat([Buffer.from(head(`content-length: ${size}`)), body]),
    Buffer.concat([
      Buffer.from(`${head('transfer-encoding: chunked')}${size.toString(16)}\r\n`),
      body,
      Buffer.from('\r\n0\r\n\r\n'),
    ]),
  ];
}

/** Of a socket what the engine calls; nothing else is ever used here. */
class PrimeSocket<State> implements Pick<Socket<State>, 'state' | 'write' | 'destroy'> {
  state: State;
  private readonly ask: () => void;

  constructor(state: State, ask: () => void) {
    this.state = state;
    this.ask = ask;
  }

  write(): WriteStatus {
    this.ask();
    return WriteStatus.Flushed;
  }

  destroy(): void {}
}

/** Answers every request at once, in the order they came. */
function memoryTransport(clock: Clock, answers: readonly Uint8Array[]): LoadTransport {
  return {
    clock,
    connect<State>(_options: unknown, handlers: SocketHandlers<State>, state: State) {
      let asked = false;
      let due = false;
      let turn = 0;
      const answer = (): void => {
        for (let n = 0; asked && n < answersPerTurn / primeConnections; n++) {
          asked = false;
          handlers.data(socket, answers[turn++ % answers.length]!);
        }
        due = asked;
        if (due) setImmediate(answer);
      };
      const prime = new PrimeSocket<State>(state, () => {
        asked = true;
        if (due) return;
        due = true;
        setImmediate(answer);
      });
      const socket = prime as unknown as Socket<State>;
      setImmediate(() => handlers.open(socket));
      return socket;
    },
  };
}

/**
 * Runs the engine hot as `plan` will use it, without touching what `plan` aims at. Takes about 70 ms on
 * Bun, 180 ms on Node. @returns what was recorded, for tests.
 */
export async function primeEngine(plan: LoadPlan, clock: Clock): Promise<Recorder> {
  const expectBody = plan.expectBody?.subarray(0, primeBodyBytesMax) ?? null;
  const body = expectBody ?? Buffer.from('{"message":"8c1b2b3e-6a5c-4a3e-9a0e-1234567890ab"}');
  const own = defaultPlan('http://127.0.0.1:1/', {
    connections: primeConnections,
    requests: primeRequests,
    sse: plan.sse,
    expectBody,
    expectBodyPattern: plan.expectBodyPattern,
  });
  const origins = new Origins(own);
  const requests = await prepareRequests(own, origins);
  const wire = http1Wire(own, memoryTransport(clock, answersWith(body)));
  const engine = new LoadEngine(own, clock, origins, requests, wire);
  const recorder = new Recorder({ openLoop: false, keepSamples: false, successBreakdown: false });
  await engine.connectAll(recorder);
  await engine.runPhase(
    { recorder, requests: primeRequests, durationMs: null, schedule: null, waitOngoing: true },
    null,
  );
  engine.shutdown();
  return recorder;
}
