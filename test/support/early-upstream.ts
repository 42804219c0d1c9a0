/**
 * A server, in a process of its own, that answers before it has read the request body, and closes its
 * connection in the way the path asks for: `/status/framing/connection/ending/waitMs`. Status 0 is no
 * answer at all. `GET /heads` says how many requests it had.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';

const script = `
const { createServer } = require('node:net');
const body = 'early answer';
const answer = (status, framing, connection) => {
  if (status === '0') return '';
  const close = connection === 'close' ? 'Connection: close\\r\\n' : '';
  return framing === 'length'
    ? 'HTTP/1.1 ' + status + ' Early\\r\\n' + close + 'Content-Length: ' + body.length + '\\r\\n\\r\\n' + body
    : 'HTTP/1.1 ' + status + ' Early\\r\\n' + close + 'Transfer-Encoding: chunked\\r\\n\\r\\n' +
      body.length.toString(16) + '\\r\\n' + body + '\\r\\n0\\r\\n\\r\\n';
};
let heads = 0;
const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
  let text = '';
  socket.on('error', () => {});
  let seen = false;
  const onData = (bytes) => {
    text += bytes.toString('latin1');
    const end = text.indexOf('\\r\\n\\r\\n');
    if (text.startsWith('GET /heads ')) {
      const count = String(heads);
      socket.end('HTTP/1.1 200 OK\\r\\nContent-Length: ' + count.length + '\\r\\nConnection: close\\r\\n\\r\\n' + count);
      return;
    }
    if (end >= 0 && !seen) {
      seen = true;
      heads++;
    }
    // The head and a little of the body.
    if (end < 0 || text.length < end + 4 + 10) return;
    socket.off('data', onData);
    const [, status, framing, connection, ending, waitMs] = text.split(' ')[1].split('/');
    socket.pause();
    setTimeout(() => finish(status, framing, connection, ending), Number(waitMs));
  };
  const finish = (status, framing, connection, ending) => {
    if (ending === 'half-close') {
      socket.end(answer(status, framing, connection));
      // Reads on and throws away, as servers do that close gently.
      socket.on('data', () => {});
      socket.on('end', () => socket.destroy());
      socket.resume();
      return;
    }
    // What is not read makes the kernel answer with a reset when the socket is closed.
    if (status === '0') {
      if (ending === 'reset') socket.resetAndDestroy();
      else socket.destroy();
    } else socket.write(answer(status, framing, connection), () => {
      if (ending === 'reset') socket.resetAndDestroy();
      else socket.destroy();
    });
  };
  socket.on('data', onData);
});
server.listen(0, '127.0.0.1', () => process.stdout.write(String(server.address().port) + '\\n'));
process.stdin.on('end', () => process.exit()).resume();
`;

export const endings = ['close', 'reset', 'half-close'] as const;
export type Ending = (typeof endings)[number];

/** Every kind of early answer; `path` asks the server for it. */
export const earlyAnswers: { status: number; path: string }[] = [401, 413, 500].flatMap((status) =>
  ['length', 'chunked'].flatMap((framing) =>
    ['close', 'keep'].map((connection) => ({
      status,
      path: `/${status}/${framing}/${connection}`,
    })),
  ),
);
export const earlyBody = 'early answer';

export class EarlyUpstream {
  readonly port: number;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, port: number) {
    this.#child = child;
    this.port = port;
  }

  static async start(): Promise<EarlyUpstream> {
    const child = spawn(process.execPath, ['-e', script], { stdio: ['pipe', 'pipe', 'inherit'] });
    const [line] = (await once(child.stdout!, 'data')) as [Buffer];
    return new EarlyUpstream(child, Number(line.toString()));
  }

  async close(): Promise<void> {
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exited;
  }
}
