/**
 * What each layer of a forwarder costs on Bun, from bare sockets upwards. STEP:
 *
 * - bytes: what is read on one socket is written to the other, which is all that long bodies need: what
 *   the other does not take waits and holds the reader up, and a read is freed once it is through
 * - text: the same, as latin1 strings; from here on messages must come whole and be taken at once
 * - parse: both heads are parsed by the engine's parsers, then the bytes are passed on
 * - rebuild: both heads are written anew from what was parsed
 * - engine: the server half and the client half with its pool, deadlines and all; no gateway
 *
 * UPSTREAMS: origins, comma separated; the first is used. Prints its port; ends with its input.
 */
import { Origin } from 'onehop/client';
import {
  Connection,
  FieldBlock,
  HeadWriter,
  HopByHopFilter,
  KnownField,
  Read,
  RequestParser,
  ResponseParser,
} from 'onehop/http1';
import { createServer, unknownLength } from 'onehop/server';

const { STEP = 'bytes' } = process.env;
const { port, hostname, host } = new URL(process.env.UPSTREAMS.split(',')[0]);
const latin1Slice = Buffer.prototype.latin1Slice;
const filter = new HopByHopFilter();
const writer = new HeadWriter();

function rebuilt(parser, isRequest) {
  const { head } = parser;
  if (isRequest) writer.beginRequest(head.method, head.path, host);
  else writer.beginResponse(head.status);
  filter.apply(head, head.nominates);
  writer.copyEndToEnd(head, filter);
  return writer.end(head.framing, head.contentLength, Connection.KeepAlive);
}

/** Reads one message that comes whole; what is to be passed on, or null. */
function passOn(parser, bytes, isRequest) {
  let text = '';
  for (let at = 0; ; at = parser.position) {
    const read = parser.read(bytes, at, bytes.length);
    if (read === Read.Head) {
      if (STEP === 'rebuild') text = rebuilt(parser, isRequest);
    } else if (read === Read.Body) {
      if (STEP === 'rebuild') text += latin1Slice.call(bytes, parser.bodyStart, parser.bodyEnd);
    } else if (read === Read.End) {
      parser.begin();
      return text;
    } else return null;
  }
}

/** Writes of which a part is not taken yet, by the socket that does not take it. */
const waiting = new WeakMap();
/** Shorter reads are left to the collector. */
const freedBytesMin = 16 * 1024;

function free(bytes) {
  if (bytes.length >= freedBytesMin) bytes.buffer.transfer(0);
}

function passBytes(from, to, bytes) {
  const queue = waiting.get(to);
  if (queue !== undefined) {
    queue.pieces.push(bytes); // read before the pause took effect
    return;
  }
  const sent = to.write(bytes);
  if (sent === bytes.length || sent < 0) {
    free(bytes);
    return;
  }
  waiting.set(to, { from, pieces: [bytes], sent });
  from.pause();
}

function drained(to) {
  const queue = waiting.get(to);
  if (queue === undefined) return;
  const { pieces } = queue;
  while (pieces.length > 0) {
    const sent = to.write(pieces[0], queue.sent, pieces[0].length - queue.sent);
    if (sent < 0) return;
    queue.sent += sent;
    if (queue.sent < pieces[0].length) return;
    queue.sent = 0;
    free(pieces.shift());
  }
  waiting.delete(to);
  queue.from.resume();
}

function forward(from, to, parser, bytes, isRequest) {
  if (STEP === 'bytes') return passBytes(from, to, bytes);
  if (STEP === 'text') return to.write(latin1Slice.call(bytes, 0, bytes.length), 'latin1');
  const text = passOn(parser, bytes, isRequest);
  if (text === null) throw new Error('the message did not come whole');
  return STEP === 'parse' ? to.write(bytes) : to.write(text, 'latin1');
}

const upstreamHandlers = {
  binaryType: 'buffer',
  open() {},
  data: (socket, bytes) => forward(socket, socket.data.caller, socket.data.responses, bytes, false),
  drain: drained,
  close() {},
};

async function listenRaw() {
  const server = Bun.listen({
    hostname: '127.0.0.1',
    port: 0,
    socket: {
      binaryType: 'buffer',
      async open(socket) {
        socket.setNoDelay(true);
        const state = {
          caller: socket,
          upstream: null,
          early: null,
          requests: new RequestParser(),
          responses: new ResponseParser(),
        };
        state.requests.begin();
        state.responses.begin();
        socket.data = state;
        state.upstream = await Bun.connect({
          hostname,
          port: Number(port),
          socket: upstreamHandlers,
          data: state,
        });
        state.upstream.setNoDelay(true);
        if (state.early !== null)
          forward(socket, state.upstream, state.requests, state.early, true);
      },
      data(socket, bytes) {
        const { data } = socket;
        if (data.upstream === null)
          data.early =
            data.early === null ? Buffer.from(bytes) : Buffer.concat([data.early, bytes]);
        else forward(socket, data.upstream, data.requests, bytes, true);
      },
      drain: drained,
      close(socket) {
        socket.data.upstream?.end();
      },
    },
  });
  return server.port;
}

/** The fields that go on, without one that is written anew. */
function forwarded(head, without) {
  filter.apply(head, head.nominates);
  const index = head.indexOf(without);
  if (index >= 0) filter.mark(index);
  return filter.collect(head);
}

/** The engine's two halves, joined as thinly as they can be. */
async function listenEngine() {
  const none = new FieldBlock([]);
  const origin = new Origin(
    { scheme: 'http', host: hostname, port: Number(port) },
    { connectionsMax: 1024, keepProcessAlive: true },
  );
  const relay = {
    onHead(exchange, head) {
      const downstream = exchange.context;
      writer.beginResponse(head.status, null, downstream.versionMinor);
      writer.block(forwarded(head, KnownField.ContentLength));
      downstream.cork();
      downstream.startHead(
        head.status,
        writer,
        head.contentLength >= 0 ? head.contentLength : unknownLength,
      );
    },
    onBody: (exchange, bytes, start, end) => exchange.context.write(bytes, start, end),
    onEnd(exchange) {
      exchange.context.end();
      exchange.context.uncork();
    },
    onError: (exchange) => exchange.context.respond(502, none),
  };
  const server = createServer({
    handler: {
      onRequest(downstream) {
        const { request } = downstream;
        origin.dispatch(
          {
            method: request.method,
            target: request.path,
            fields: forwarded(request, KnownField.Host),
            body: null,
          },
          relay,
          downstream,
        );
      },
    },
    limits: { requestsPerConnectionMax: 1e9, connectionsPerAddressMax: 30_000 },
  });
  return (await server.listen({ host: '127.0.0.1', port: 0 })).port;
}

console.log(await (STEP === 'engine' ? listenEngine() : listenRaw()));
process.stdin.on('end', () => process.exit(0)).resume();
