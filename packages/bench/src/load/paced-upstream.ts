/**
 * A static upstream on the raw transport for calibrating: the same 50 bytes to every request. What it
 * waits before it answers is argument 1:
 *
 * - `0`: nothing;
 * - a number of ms: at least so long, by the runtime's timers, which answer all that is due within
 *   the same millisecond at once;
 * - `spread`: each its own time out of paced-delays.ts, to within microseconds, for which the process
 *   keeps its core busy while anything waits.
 *
 * Prints its port; ends when its input does. Nothing is allocated per request here, so that the
 * collector of this process does not show in the figures of another.
 */
import { Read, RequestParser } from 'onehop/http1';
import { type Socket, transport } from 'onehop/transport';
import { spreadDelays } from './paced-delays.ts';

const waitingMax = 4_096;

const mode = process.argv[2] ?? '0';
const isSpread = mode === 'spread';
const fixedMs = isSpread ? 0 : Number(mode);
const delays = isSpread ? spreadDelays() : null;
let nextDelay = 0;
const answer = Buffer.from(
  'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n' +
    '{"message":"8c1b2b3e-6a5c-4a3e-9a0e-1234567890ab"}',
);

interface Caller {
  parser: RequestParser;
}

/** A heap of what waits, the earliest first: when it is due and for whom. */
const dueMs = new Float64Array(waitingMax);
const callers: (Socket<Caller> | null)[] = new Array<null>(waitingMax).fill(null);
let size = 0;
let armed = false;

function add(due: number, caller: Socket<Caller>): void {
  let at = size++;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (dueMs[parent]! <= due) break;
    dueMs[at] = dueMs[parent]!;
    callers[at] = callers[parent]!;
    at = parent;
  }
  dueMs[at] = due;
  callers[at] = caller;
}

function takeFirst(): Socket<Caller> {
  const first = callers[0]!;
  size--;
  const due = dueMs[size]!;
  const moved = callers[size]!;
  callers[size] = null;
  if (size === 0) return first;
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= size) break;
    if (child + 1 < size && dueMs[child + 1]! < dueMs[child]!) child++;
    if (dueMs[child]! >= due) break;
    dueMs[at] = dueMs[child]!;
    callers[at] = callers[child]!;
    at = child;
  }
  dueMs[at] = due;
  callers[at] = moved;
  return first;
}

function release(): void {
  armed = false;
  while (size > 0 && dueMs[0]! <= performance.now()) takeFirst().write(answer, 0, answer.length);
  arm();
}

function arm(): void {
  if (armed || size === 0) return;
  armed = true;
  if (isSpread) setImmediate(release);
  else setTimeout(release, Math.max(1, Math.ceil(dueMs[0]! - performance.now())));
}

function reply(socket: Socket<Caller>): void {
  const delayMs = delays === null ? fixedMs : delays[nextDelay++ % delays.length]!;
  if (delayMs === 0) {
    socket.write(answer, 0, answer.length);
    return;
  }
  if (size === waitingMax) {
    socket.destroy();
    return;
  }
  add(performance.now() + delayMs, socket);
  arm();
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
