/**
 * The parsers against the one inside node:http, through its public face: a server that is handed a
 * duplex stream as a connection, and a client whose connection is one. Only complete messages are
 * compared. Each side refuses things the other takes; those are explained in `explained.ts`, and
 * everything else is a failure.
 */
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import { Duplex } from 'node:stream';
import { FORBIDDEN_IN_TRAILERS, knownFieldOfName } from 'onehop/http1';
import { type Kind, type Transcript, transcribe } from '../corpus/transcript.ts';
import { explain } from './explained.ts';
import { generate } from './generate.ts';
import { Random } from './random.ts';
import type { Fuzzer, FuzzOptions, FuzzResult } from './registry.ts';

/** A complete message as both sides can tell it. */
export interface Seen {
  line: string;
  version: string;
  fields: string[];
  body: string;
  trailers: string[];
}

export interface NodeRun {
  messages: Seen[];
  /** Code of the error node:http reported, or ''. */
  code: string;
  /** The CONNECT at which the connection was handed over. */
  connect?: Seen;
}

const BATCH = 128;
const isBun = 'bun' in process.versions;

/** One end of a connection that exists only in memory. */
class Wire extends Duplex {
  constructor() {
    super({ allowHalfOpen: true });
  }

  override _read(): void {}

  override _write(_chunk: unknown, _encoding: string, done: () => void): void {
    done();
  }

  // What node:http calls on a socket.
  setTimeout(): this {
    return this;
  }

  setNoDelay(): this {
    return this;
  }

  setKeepAlive(): this {
    return this;
  }

  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function lateFields(pairs: string[]): string[] {
  const kept: string[] = [];
  for (let i = 0; i < pairs.length; i += 2) {
    const id = knownFieldOfName(pairs[i]!);
    if (id === 0 || FORBIDDEN_IN_TRAILERS[id] === 0) kept.push(pairs[i]!, pairs[i + 1]!);
  }
  return kept;
}

/** Collects a message; calls back when it is complete. */
function collect(message: IncomingMessage, line: string, done: (seen: Seen) => void): void {
  let body = '';
  const fields = message.rawHeaders.slice();
  message.setEncoding('latin1');
  message.on('data', (text: string) => {
    body += text;
  });
  message.on('error', () => {});
  message.on('end', () => {
    if (!message.complete) return;
    done({
      line,
      version: message.httpVersion,
      fields,
      body,
      trailers: lateFields(message.rawTrailers),
    });
  });
}

const RUN = Symbol('run');
type TaggedWire = Wire & { [RUN]?: NodeRun };

function makeServer(): (texts: string[]) => Promise<NodeRun[]> {
  const server = createServer({ keepAliveTimeout: 0, requestTimeout: 0, headersTimeout: 0 });
  server.on('request', (incoming: IncomingMessage, outgoing: ServerResponse) => {
    const run = (incoming.socket as unknown as TaggedWire)[RUN]!;
    collect(incoming, `${incoming.method} ${incoming.url}`, (seen) => {
      run.messages.push(seen);
      outgoing.end();
    });
  });
  server.on('connect', (incoming: IncomingMessage, socket: Duplex) => {
    // Kept apart: the ends of earlier messages are still to be delivered.
    (socket as TaggedWire)[RUN]!.connect = {
      line: `${incoming.method} ${incoming.url}`,
      version: incoming.httpVersion,
      fields: incoming.rawHeaders,
      body: '',
      trailers: [],
    };
    (socket as TaggedWire)[RUN]!.code = 'CONNECT';
  });
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) => {
    const run = (socket as TaggedWire)[RUN];
    // Not destroyed here: messages before the fault are still being delivered.
    if (run !== undefined && run.code === '') run.code = error.code ?? 'ERROR';
  });
  return async (texts) => {
    const wires = texts.map((text) => {
      const wire: TaggedWire = new Wire();
      wire[RUN] = { messages: [], code: '' };
      wire.on('error', () => {});
      server.emit('connection', wire);
      wire.push(Buffer.from(text, 'latin1'));
      return wire;
    });
    // Complete requests are answered before the end of the stream, which would abort them.
    for (let i = 0; i < 6; i++) await turn();
    for (const wire of wires) wire.push(null);
    for (let i = 0; i < 4; i++) await turn();
    for (const wire of wires) wire.destroy();
    return wires.map((wire) => {
      const run = wire[RUN]!;
      if (run.connect !== undefined) run.messages.push(run.connect);
      return run;
    });
  };
}

async function runResponse(text: string): Promise<NodeRun> {
  const run: NodeRun = { messages: [], code: '' };
  const wire = new Wire();
  wire.on('error', () => {});
  const outgoing = request({
    createConnection: () => wire as never,
    host: 'a.test',
    method: 'GET',
    path: '/',
  });
  outgoing.on(
    'information',
    (info: { statusCode: number; httpVersion: string; rawHeaders: string[] }) => {
      run.messages.push({
        line: `${info.statusCode}`,
        version: info.httpVersion,
        fields: info.rawHeaders,
        body: '',
        trailers: [],
      });
    },
  );
  outgoing.on('response', (incoming: IncomingMessage) => {
    collect(incoming, `${incoming.statusCode}`, (seen) => run.messages.push(seen));
  });
  outgoing.on('upgrade', (_incoming: IncomingMessage, socket: Duplex) => {
    run.code = 'UPGRADE';
    socket.destroy();
  });
  outgoing.on('error', (error: NodeJS.ErrnoException) => {
    if (run.code === '') run.code = error.code ?? 'ERROR';
  });
  outgoing.end();
  await turn();
  wire.push(Buffer.from(text, 'latin1'));
  for (let i = 0; i < 3; i++) await turn();
  wire.push(null);
  for (let i = 0; i < 4; i++) await turn();
  outgoing.destroy();
  wire.destroy();
  return run;
}

function seenOf(transcript: Transcript): Seen[] {
  return transcript.messages
    .filter(({ complete, interim }) => complete || interim)
    .map(({ line, version, fields, body, trailers }) => ({
      line,
      version,
      fields,
      body,
      trailers,
    }));
}

function differs(ours: Seen[], theirs: Seen[]): string {
  const common = Math.min(ours.length, theirs.length);
  for (let i = 0; i < common; i++) {
    for (const key of ['line', 'version', 'fields', 'body', 'trailers'] as const) {
      const [a, b] = [JSON.stringify(ours[i]![key]), JSON.stringify(theirs[i]![key])];
      if (a !== b) return `message ${i} ${key}: ${a}, node:http ${b}`;
    }
  }
  return ours.length === theirs.length ? '' : `${ours.length} messages, node:http ${theirs.length}`;
}

async function run(kind: Kind, options: FuzzOptions): Promise<FuzzResult> {
  const result: FuzzResult = { runs: 0, failures: [], explained: {} };
  const serve = makeServer();
  const end = options.from + options.runs;
  for (let from = options.from; from < end; from += BATCH) {
    const texts: string[] = [];
    for (let i = from; i < Math.min(end, from + BATCH); i++) {
      texts.push(generate(Random.at(options.seed, i), kind));
    }
    const runs =
      kind === 'request' ? await serve(texts) : await Promise.all(texts.map(runResponse));
    for (const [k, text] of texts.entries()) {
      const transcript = transcribe(kind, [Buffer.from(text, 'latin1')]);
      const ours = seenOf(transcript);
      const theirs = runs[k]!;
      result.runs++;
      const reason = differs(ours, theirs.messages);
      if (reason === '') continue;
      const known = explain(kind, text, transcript, ours, theirs);
      if (known !== '') result.explained[known] = (result.explained[known] ?? 0) + 1;
      else {
        const error = transcript.error || transcript.finish;
        result.failures.push({
          index: from + k,
          input: text,
          reason: `${reason} (${error}, node:http ${theirs.code || 'no error'})`,
        });
        options.found?.(result.failures.at(-1)!);
      }
    }
    if (result.failures.length >= options.failuresMax) break;
    if (from % (BATCH * 512) === 0) options.progress?.(result.runs);
  }
  return result;
}

const unavailable = isBun ? 'the node:http of Bun has another parser' : '';

export const nodeRequests: Fuzzer = {
  name: 'node-requests',
  about: "request parser against node:http's",
  unavailable,
  run: (options) => run('request', options),
};

export const nodeResponses: Fuzzer = {
  name: 'node-responses',
  about: "response parser against node:http's",
  unavailable,
  run: (options) => run('response', options),
};
