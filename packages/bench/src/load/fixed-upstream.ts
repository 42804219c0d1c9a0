/**
 * A static upstream on the raw transport for calibrating: the same 50 bytes to every request, after
 * a fixed delay when one is given (argument 1, in ms). With a delay the upstream decides what every
 * generator sees. Prints its port; ends when its input does.
 */
import { Read, RequestParser } from 'onehop/http1';
import { type Socket, transport } from 'onehop/transport';

const delayMs = Number(process.argv[2] ?? 0);
const answer = Buffer.from(
  'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n' +
    '{"message":"8c1b2b3e-6a5c-4a3e-9a0e-1234567890ab"}',
);

interface Caller {
  parser: RequestParser;
}

/** Answers that wait, oldest first: all wait equally long. */
const waiting: { socket: Socket<Caller>; dueMs: number }[] = [];
let first = 0;
let armed = false;

function release(): void {
  armed = false;
  const nowMs = performance.now();
  while (first < waiting.length && waiting[first]!.dueMs <= nowMs) {
    waiting[first++]!.socket.write(answer, 0, answer.length);
  }
  if (first > 4_096) {
    waiting.splice(0, first);
    first = 0;
  }
  arm(nowMs);
}

function arm(nowMs: number): void {
  if (armed || first >= waiting.length) return;
  armed = true;
  setTimeout(release, Math.max(1, Math.ceil(waiting[first]!.dueMs - nowMs)));
}

function reply(socket: Socket<Caller>): void {
  if (delayMs === 0) {
    socket.write(answer, 0, answer.length);
    return;
  }
  const nowMs = performance.now();
  waiting.push({ socket, dueMs: nowMs + delayMs });
  arm(nowMs);
}

const listener = await transport.listen<Caller>(
  { host: '127.0.0.1', port: 0, backlog: 4_096 },
  {
    open() {},
    data(socket, bytes) {
      const { parser } = socket.state;
      for (let at = 0; ; at = parser.position) {
        const read = parser.read(bytes, at, bytes.length);
        if (read === Read.NeedMore) return;
        if (read === Read.Error) {
          socket.destroy();
          return;
        }
        if (read === Read.Head) continue;
        if (read === Read.End) {
          parser.begin();
          reply(socket);
        }
      }
    },
    drain() {},
    end: (socket) => socket.end(),
    close() {},
  },
  () => {
    const parser = new RequestParser();
    parser.begin();
    return { parser };
  },
);
console.log(listener.port);
process.stdin.on('end', () => process.exit(0)).resume();
