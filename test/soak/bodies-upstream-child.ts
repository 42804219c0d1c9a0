/**
 * The upstream of the soak with long bodies, in a process of its own; says its port. Everything is in
 * the query: `GET /give` sends `size` bytes of `key`, `POST /take` reads them at a pace and answers what
 * it made of them.
 */
import { createServer, type Socket } from 'node:net';
import { BodyCheck } from './bodies-pattern.ts';
import { type BodyPlan, MessageReader, type Pace, ReadPace, writeBody } from './bodies-wire.ts';

interface Asked extends BodyPlan {
  upload: boolean;
  close: boolean;
}

function askedIn(head: string): Asked {
  const [method, target] = head.split(' ', 2);
  const query = new URL(target!, 'http://t').searchParams;
  return {
    upload: method === 'POST',
    key: Number(query.get('key')),
    size: Number(query.get('size')),
    chunked: query.get('chunked') === '1',
    pace: (query.get('pace') ?? 'large') as Pace,
    close: /\r\nconnection: close/i.test(head),
  };
}

async function give(socket: Socket, asked: Asked): Promise<void> {
  const framing = asked.chunked ? 'Transfer-Encoding: chunked' : `Content-Length: ${asked.size}`;
  socket.write(`HTTP/1.1 200 OK\r\n${framing}\r\n\r\n`, 'latin1');
  await writeBody(socket, asked, asked.size);
  if (asked.close) socket.end();
}

function answer(socket: Socket, asked: Asked, check: BodyCheck): void {
  const { bytes, wrongAt, fault } = check;
  const text = JSON.stringify({ bytes, wrongAt, fault });
  socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${text.length}\r\n\r\n${text}`, 'latin1');
  if (asked.close) socket.end();
}

function serve(socket: Socket): void {
  let asked: Asked;
  let check: BodyCheck;
  let pace: ReadPace;
  const reader = new MessageReader({
    onHead(head) {
      asked = askedIn(head);
      check = new BodyCheck(asked.key, asked.size);
      pace = new ReadPace(socket, asked.pace, asked.size);
    },
    onBody(bytes, start, end) {
      check.take(bytes, start, end);
      pace.read(check.bytes);
    },
    onEnd() {
      if (asked.upload) answer(socket, asked, check);
      else void give(socket, asked);
    },
  });
  socket.setNoDelay(true);
  socket.on('error', () => socket.destroy());
  socket.on('data', (bytes) => {
    reader.push(bytes as Buffer);
    if (reader.fault !== null) socket.destroy();
  });
  // Callers that left half-way.
  socket.on('end', () => socket.end());
}

const server = createServer({ allowHalfOpen: true }, serve);
server.listen({ host: '127.0.0.1', port: 0, backlog: 1024 }, () => {
  console.log((server.address() as { port: number }).port);
});
process.stdin.on('end', () => process.exit(0)).resume();
