/**
 * The server behind `bench:client`, in a process of its own: as fast as this runtime's sockets allow,
 * so that the client is what is measured. `GET /N` answers N bytes of JSON.
 */
import { type Socket, transport } from 'onehop/transport';

interface State {
  /** How much of the end of a request head has been seen. */
  matched: number;
}

const replies = new Map<string, Buffer>();

/** A JSON object of exactly `bytes` bytes. */
function jsonOf(bytes: number): string {
  const frame = '{"id":1,"label":"","score":0.5}';
  return frame.replace('"label":""', `"label":"${'x'.repeat(Math.max(0, bytes - frame.length))}"`);
}

function replyTo(path: string): Buffer {
  let reply = replies.get(path);
  if (reply === undefined) {
    const body = jsonOf(Number(path.slice(1)) || 50);
    reply = Buffer.from(
      `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n` +
        `date: Mon, 23 Nov 2026 00:00:00 GMT\r\n\r\n${body}`,
    );
    replies.set(path, reply);
  }
  return reply;
}

const END = [13, 10, 13, 10];

function onData(socket: Socket<State>, bytes: Uint8Array): void {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
  const reply = replyTo(text.slice(4, text.indexOf(' ', 4)));
  const { state } = socket;
  for (let i = 0; i < bytes.length; i++) {
    state.matched = bytes[i] === END[state.matched] ? state.matched + 1 : bytes[i] === 13 ? 1 : 0;
    if (state.matched === 4) {
      state.matched = 0;
      socket.write(reply, 0, reply.length);
    }
  }
}

const listener = await transport.listen<State>(
  {},
  {
    open() {},
    data: onData,
    drain() {},
    end: (socket) => socket.destroy(),
    close() {},
  },
  () => ({ matched: 0 }),
);
process.send!({ port: listener.port });
process.on('disconnect', () => process.exit(0));
