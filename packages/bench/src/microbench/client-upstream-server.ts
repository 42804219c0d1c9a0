/**
 * The server behind `bench:client`: as fast as this runtime's sockets allow, so that the client is what
 * is measured. `GET /N` answers N bytes of JSON.
 */
import { type Listener, type Socket, transport } from 'onehop/transport';
import { jsonOf, replyHead } from './client-reply.ts';

interface State {
  /** How much of the end of a request head has been seen. */
  matched: number;
}

const replies = new Map<string, Buffer>();

function replyTo(path: string): Buffer {
  let reply = replies.get(path);
  if (reply === undefined) {
    const bodyBytes = Number(path.slice(1)) || 50;
    reply = Buffer.from(replyHead(bodyBytes) + jsonOf(bodyBytes));
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

/** Listens on a free port of the loopback; `close` drops connections too. */
export async function startUpstream(): Promise<{ port: number; close(): Promise<void> }> {
  const sockets = new Set<Socket<State>>();
  const listener: Listener = await transport.listen<State>(
    {},
    {
      open(socket) {
        sockets.add(socket);
      },
      data: onData,
      drain() {},
      end: (socket) => socket.destroy(),
      close(socket) {
        sockets.delete(socket);
      },
    },
    () => ({ matched: 0 }),
  );
  return {
    port: listener.port,
    close() {
      for (const socket of sockets) socket.destroy();
      return listener.close();
    },
  };
}
