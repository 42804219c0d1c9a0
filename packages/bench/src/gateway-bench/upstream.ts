/**
 * The upstream of the gateway bench, on the raw transport with answers made beforehand, so that it
 * costs as little as it can. Listens on two ports and prints both; ends when its input does.
 *
 * - GET /50, /1024, /220000, /1048576, /5242880: JSON of so many bytes
 * - POST anywhere: reads the body and answers how long it was
 * - POST /v1/chat/completions: the answer of a chat completion
 * - GET /events?count=64&pace=20: so many server-sent events, chunked, one every `pace` ms
 */
import { Read, RequestParser } from 'onehop/http1';
import { type Listener, type Socket, transport } from 'onehop/transport';
import { chatAnswer, eventText, paddedJson } from './payload.ts';

interface Caller {
  parser: RequestParser;
  post: boolean;
  path: string;
  bodyBytes: number;
}

const answerOf = (body: string): Buffer =>
  Buffer.from(
    'HTTP/1.1 200 OK\r\nserver: bench\r\ncontent-type: application/json\r\n' +
      `content-length: ${body.length}\r\n\r\n${body}`,
    'latin1',
  );
const sizes = [50, 1024, 220_000, 1_048_576, 5_242_880];
const answers = new Map(sizes.map((size) => [`/${size}`, answerOf(paddedJson(size))]));
const chat = answerOf(chatAnswer);
const notFound = Buffer.from('HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n');
const eventHead =
  'HTTP/1.1 200 OK\r\nserver: bench\r\ncontent-type: text/event-stream\r\n' +
  'cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n';
const event = Buffer.from(`${eventText.length.toString(16)}\r\n${eventText}\r\n`, 'latin1');
const eventEnd = '0\r\n\r\n';

interface Stream {
  socket: Socket<Caller>;
  left: number;
  paceMs: number;
  dueMs: number;
}
const streams = new Set<Stream>();
let ticking: NodeJS.Timeout | null = null;

/** Every millisecond: sends what is due. Late events keep their own schedule. */
function tick(): void {
  const nowMs = performance.now();
  for (const stream of streams) {
    if (stream.dueMs > nowMs) continue;
    stream.socket.write(event, 0, event.length);
    stream.dueMs += stream.paceMs;
    if (--stream.left > 0) continue;
    stream.socket.writeLatin1(eventEnd);
    streams.delete(stream);
  }
  if (streams.size === 0 && ticking !== null) {
    clearInterval(ticking);
    ticking = null;
  }
}

function openStream(socket: Socket<Caller>, path: string): void {
  const query = new URLSearchParams(path.slice(path.indexOf('?') + 1));
  const paceMs = Number(query.get('pace') ?? 20);
  const left = Number(query.get('count') ?? 64);
  socket.writeLatin1(eventHead);
  streams.add({ socket, left, paceMs, dueMs: performance.now() + paceMs });
  ticking ??= setInterval(tick, 1);
}

function reply(socket: Socket<Caller>): void {
  const { post, path, bodyBytes } = socket.state;
  if (path.startsWith('/events')) openStream(socket, path);
  else if (post && path === '/v1/chat/completions') socket.write(chat, 0, chat.length);
  else if (post) {
    const answer = answerOf(JSON.stringify({ received: bodyBytes }));
    socket.write(answer, 0, answer.length);
  } else {
    const answer = answers.get(path) ?? notFound;
    socket.write(answer, 0, answer.length);
  }
}

function read(socket: Socket<Caller>, bytes: Uint8Array): void {
  const { state } = socket;
  const { parser } = state;
  // Requests that came together are answered together.
  socket.cork();
  for (let at = 0; ; at = parser.position) {
    const what = parser.read(bytes, at, bytes.length);
    if (what === Read.Head) {
      state.post = parser.head.method === 'POST';
      state.path = parser.head.path;
      state.bodyBytes = 0;
    } else if (what === Read.Body) state.bodyBytes += parser.bodyEnd - parser.bodyStart;
    else if (what === Read.End) {
      parser.begin();
      reply(socket);
    } else if (what === Read.NeedMore) break;
    else {
      socket.destroy();
      return;
    }
  }
  socket.uncork();
}

function forget(socket: Socket<Caller>): void {
  for (const stream of streams) if (stream.socket === socket) streams.delete(stream);
}

const listen = (): Promise<Listener> =>
  transport.listen<Caller>(
    { host: '127.0.0.1', port: 0, backlog: 4096 },
    {
      open() {},
      data: read,
      drain() {},
      end: (socket) => socket.end(),
      close: forget,
    },
    () => {
      const parser = new RequestParser();
      parser.begin();
      return { parser, post: false, path: '', bodyBytes: 0 };
    },
  );
const [first, second] = await Promise.all([listen(), listen()]);
console.log(`${first.port} ${second.port}`);
process.stdin.on('end', () => process.exit(0)).resume();
