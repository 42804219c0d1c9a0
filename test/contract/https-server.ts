// An HTTPS server in a process of its own, on Node (node:https) or Bun (Bun.serve), whichever runs it:
//   https-server.js CERT KEY [CLIENT_CA]
// Prints its port. With CLIENT_CA it takes only clients with a certificate of that issuer.
// `GET /N` answers N times `x`; anything else what it was sent, with how it was sent in fields.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { TLSSocket } from 'node:tls';

interface BunServer {
  serve(options: object): { port: number };
}

const [cert, key, clientCa] = process.argv.slice(2).map((file) => readFileSync(file, 'utf8'));
const tls = {
  cert,
  key,
  ...(clientCa === undefined ? {} : { ca: clientCa, requestCert: true, rejectUnauthorized: true }),
};
const { Bun: bun } = globalThis as unknown as { Bun?: BunServer };

function startNode(): void {
  const server = createServer(tls, (request, response) => {
    const socket = request.socket as TLSSocket;
    const length = Number(request.url!.slice(1));
    const pieces: Buffer[] = [];
    request.on('data', (piece: Buffer) => pieces.push(piece));
    request.on('end', () => {
      response.setHeader('x-reused', String(socket.bytesRead > 0 && seen.has(socket)));
      seen.add(socket);
      response.setHeader('x-client', socket.getPeerCertificate()?.subject?.CN ?? 'none');
      const body = length > 0 ? Buffer.alloc(length, 'x') : Buffer.concat(pieces);
      response.setHeader('content-length', body.length);
      response.end(body);
    });
  });
  const seen = new WeakSet<TLSSocket>();
  server.on('tlsClientError', () => {});
  server.listen(0, '127.0.0.1', () => {
    const address = server.address();
    console.log(typeof address === 'object' ? address?.port : '');
  });
}

if (bun === undefined) startNode();
else {
  const server = bun.serve({
    port: 0,
    hostname: '127.0.0.1',
    tls,
    async fetch(request: Request) {
      const length = Number(new URL(request.url).pathname.slice(1));
      return new Response(length > 0 ? 'x'.repeat(length) : await request.arrayBuffer());
    },
  });
  console.log(server.port);
}
// Gone with the test, however that ends.
process.stdin.resume().on('end', () => process.exit(0));
