/**
 * Opens keep-alive connections, makes one request on each and leaves them idle. Arguments: URL and
 * number. Prints how many were answered; resets them all when its input ends.
 */
import { type Socket, transport } from 'onehop/transport';

const url = new URL(process.argv[2]!);
const wanted = Number(process.argv[3]);
const request = `GET ${url.pathname} HTTP/1.1\r\nhost: ${url.host}\r\n\r\n`;
/** Beyond this many under way the listener's queue would overflow. */
const openingMax = 100;

const sockets: Socket<null>[] = [];
let started = 0;
let answered = 0;

function more(): void {
  while (started < wanted && started - answered < openingMax) {
    started++;
    transport.connect(
      { host: url.hostname, port: Number(url.port) },
      {
        open(socket) {
          sockets.push(socket);
          socket.writeLatin1(request);
        },
        data() {
          answered++;
          if (answered === wanted) console.log(String(answered));
          else more();
        },
        drain() {},
        end() {
          fail('a connection was ended');
        },
        close(_, error) {
          fail(error?.message ?? 'a connection was closed');
        },
      },
      null,
    );
  }
}

let stopping = false;
function fail(why: string): void {
  if (stopping) return;
  console.error(`${why} after ${answered} answers`);
  process.exit(1);
}

more();
process.stdin
  .on('end', () => {
    stopping = true;
    for (const socket of sockets) socket.destroy(true);
    setTimeout(() => process.exit(0), 100);
  })
  .resume();
