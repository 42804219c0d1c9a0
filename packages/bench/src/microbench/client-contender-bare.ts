/** The floors: sockets without a client. */
import { type Socket, type SocketHandlers, transport } from 'onehop/transport';
import { driveCallbacks, type Open } from './client-drive.ts';
import { replyHeadBytes } from './client-reply.ts';

/** With less than this to come, one ordinary read brings it. */
const directBytesMin = 64 * 1024;

/** A connection of the bare reader: counts the bytes of an answer whose length it knows. */
interface BareCall {
  bytesLeft: number;
  /** What was read of this answer, where it is collected. */
  reads: Uint8Array[];
  done: ((error: unknown) => void) | null;
}

/**
 * Keeps what was read, as cheaply as the runtime allows: the read itself where it is never written to
 * again (see `Socket.keepRead`), else one buffer for the whole answer, read into without a copy.
 */
function keep(socket: Socket<BareCall>, bytes: Uint8Array, answerBytes: number): void {
  const { reads, bytesLeft } = socket.state;
  if (socket.keepsReads) {
    socket.keepRead();
    reads.push(bytes);
    return;
  }
  if (reads.length === 0) reads.push(transport.bodyBuffer(answerBytes));
  const whole = reads[0]!;
  const at = answerBytes - bytesLeft;
  if (bytes.buffer === whole.buffer || bytes.length > bytesLeft) return;
  whole.set(bytes, at);
  if (bytesLeft - bytes.length >= directBytesMin) socket.readInto(whole, at + bytes.length);
}

/**
 * No client at all: one prepared request, bytes counted, nothing parsed. What it costs is the floor
 * under every client on these sockets, and its rate the ceiling of upstream and machine. With
 * `collects` it also hands each answer over in one piece, as whoever asks for a whole body wants it:
 * the floor under those clients.
 */
function openBare(collects: boolean): Open {
  return ({ host, port, path, bodyBytes }) => {
    const text = `GET ${path} HTTP/1.1\r\nhost: ${host}:${port}\r\n\r\n`;
    const answerBytes = replyHeadBytes(bodyBytes) + bodyBytes;
    const all: Socket<BareCall>[] = [];
    const idle: Socket<BareCall>[] = [];
    const send = (socket: Socket<BareCall>, done: (error: unknown) => void): void => {
      socket.state.bytesLeft = answerBytes;
      socket.state.done = done;
      socket.writeLatin1(text);
    };
    const finish = (socket: Socket<BareCall>): void => {
      const call = socket.state;
      if (call.reads.length > 1) {
        const whole = transport.joinReads(call.reads);
        if (whole.length !== answerBytes) call.bytesLeft = -1;
      }
      call.reads = [];
      idle.push(socket);
      call.done!(call.bytesLeft < 0 ? new Error('more bytes than an answer has') : null);
    };
    const handlers: SocketHandlers<BareCall> = {
      open: (socket) => send(socket, socket.state.done!),
      data(socket, bytes) {
        if (collects) keep(socket, bytes, answerBytes);
        socket.state.bytesLeft -= bytes.length;
        if (socket.state.bytesLeft > 0) return;
        // Reads are not joined within the call that brought one of them.
        if (collects) queueMicrotask(() => finish(socket));
        else finish(socket);
      },
      drain() {},
      end: (socket) => socket.destroy(),
      close() {},
    };
    const start = (done: (error: unknown) => void): void => {
      const socket = idle.pop();
      if (socket !== undefined) send(socket, done);
      else {
        const call: BareCall = { bytesLeft: 0, reads: [], done };
        all.push(transport.connect({ host, port }, handlers, call));
      }
    };
    return {
      drive: driveCallbacks(start),
      close() {
        for (const socket of all) socket.destroy();
      },
    };
  };
}

export const openCounting = openBare(false);
export const openCollecting = openBare(true);
