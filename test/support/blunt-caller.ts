/**
 * Callers that do with an early answer what the blunt clients do: they send until that fails, and read
 * what there is however the sending ended.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { type Socket, transport, WriteStatus } from 'onehop/transport';

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Sends `pieces`, each once the one before is taken; what came back, until `isWhole` or the end. */
export async function askInPieces(
  port: number,
  pieces: readonly Buffer[],
  isWhole: (text: string) => boolean,
): Promise<string> {
  let text = '';
  let over = false;
  let wake = (): void => {};
  const woken = (): Promise<void> =>
    new Promise((resolve) => {
      wake = resolve;
    });
  const end = (): void => {
    over = true;
    wake();
  };
  const socket: Socket<null> = transport.connect(
    { port },
    {
      open: () => wake(),
      data(_, bytes) {
        text += Buffer.from(bytes).toString('latin1');
        if (isWhole(text)) end();
      },
      drain: () => wake(),
      end,
      close: end,
    },
    null,
  );
  await woken();
  for (const piece of pieces) {
    // Fails at once when the peer has closed: then there is only what it said before.
    if (over || socket.write(piece, 0, piece.length) === WriteStatus.Closed) break;
    while (!over && socket.queuedBytes > 0) await woken();
    await pause(0);
  }
  while (!over) await woken();
  socket.destroy();
  return text;
}

const script = `
const { connect } = require('node:net');
require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
  const { port, head, bodyBytes, tail } = JSON.parse(line);
  let text = '';
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  let timer;
  const done = () => {
    if (timer === null) return;
    clearTimeout(timer);
    timer = null;
    socket.destroy();
    process.stdout.write(JSON.stringify(text) + '\\n');
  };
  socket.on('data', (bytes) => {
    text += bytes.toString('latin1');
    const end = text.indexOf('\\r\\n\\r\\n');
    const length = /content-length: (\\d+)/i.exec(text);
    const whole = length ? text.length >= end + 4 + Number(length[1]) : text.endsWith('\\r\\n0\\r\\n\\r\\n');
    if (end > 0 && whole) done();
  });
  socket.on('end', done);
  socket.on('error', () => {});
  socket.on('close', done);
  timer = setTimeout(done, 30000);
  socket.write(Buffer.concat([Buffer.from(head), Buffer.alloc(bodyBytes, 'x'), Buffer.from(tail)]));
});
process.stdin.on('end', () => process.exit());
`;

/** A caller in a process of its own, which hands all of a request to the kernel at once. */
export class FarCaller {
  readonly #child: ChildProcess = spawn(process.execPath, ['-e', script], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  #heard: ((line: string) => void) | null = null;

  constructor() {
    createInterface({ input: this.#child.stdout! }).on('line', (line) => this.#heard?.(line));
  }

  /** Head, so many bytes of body, and `tail`; what came back. */
  ask(port: number, head: string, bodyBytes: number, tail: string): Promise<string> {
    this.#child.stdin!.write(`${JSON.stringify({ port, head, bodyBytes, tail })}\n`);
    return new Promise((resolve) => {
      this.#heard = (line) => resolve(JSON.parse(line) as string);
    });
  }

  close(): void {
    this.#child.kill('SIGKILL');
  }
}
