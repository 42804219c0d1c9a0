/**
 * The storm's upstream, in a process of its own: starts what the path says and never ends it, and
 * notes when each connection came and went. Says its port first; answers each line with its notes, and
 * forgets them when the line says `report`.
 */
import { createServer, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { type UpstreamSight, wallMs } from './storm-phases.ts';

let sights = new Map<number, UpstreamSight>();

/** One answer that never ends; what it needs at the end is `stop`. */
function answer(socket: Socket, phase: string): (() => void) | null {
  if (phase === 'head' || phase === 'body') {
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n');
    if (phase === 'body') socket.write('x'.repeat(30_000));
  }
  if (phase !== 'stream') return null;
  const headers = 'Content-Type: text/event-stream\r\nTransfer-Encoding: chunked';
  socket.write(`HTTP/1.1 200 OK\r\n${headers}\r\n\r\n`);
  const timer = setInterval(() => socket.write('9\r\ndata: 1\n\n\r\n'), 50);
  return () => clearInterval(timer);
}

const server = createServer({ noDelay: true }, (socket) => {
  let sight: UpstreamSight | null = null;
  let stop: (() => void) | null = null;
  socket.on('data', (bytes) => {
    if (sight !== null) return;
    const match = /^\w+ \/(\w[\w-]*)\/(\d+) /.exec((bytes as Buffer).toString('latin1'));
    if (match === null) return;
    sight = { id: Number(match[2]), arrivedMs: wallMs(), closedMs: null };
    sights.set(sight.id, sight);
    stop = answer(socket, match[1]!);
  });
  const gone = (): void => {
    if (sight !== null) sight.closedMs ??= wallMs();
    stop?.();
  };
  // Whichever is noticed first: FIN, reset or the end.
  socket.on('end', gone);
  socket.on('error', gone);
  socket.on('close', gone);
});
server.listen(0, '127.0.0.1', 4096, () => {
  console.log((server.address() as { port: number }).port);
});

const lines = createInterface({ input: process.stdin });
lines.on('line', (line) => {
  console.log(JSON.stringify([...sights.values()]));
  if (line === 'report') sights = new Map();
});
lines.on('close', () => process.exit(0));
