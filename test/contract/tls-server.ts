// A TLS server in a process of its own, always on Node: node tls-server.js CERT KEY
// Prints its port, greets with what the handshake agreed on, then echoes.
import { readFileSync } from 'node:fs';
import { createServer, type TLSSocket } from 'node:tls';

const [cert, key] = process.argv.slice(2).map((file) => readFileSync(file));
const server = createServer(
  { cert, key, ALPNProtocols: ['http/1.1'], allowHalfOpen: true },
  (socket: TLSSocket) => {
    socket.on('error', () => {});
    socket.on('end', () => socket.end());
    const { servername: name } = socket as { servername?: string | false | null };
    socket.write(`sni=${name || 'none'} alpn=${socket.alpnProtocol}\n`);
    socket.pipe(socket, { end: false });
  },
);
server.on('tlsClientError', () => {});
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  console.log(typeof address === 'object' ? address?.port : '');
});
// Gone with the test, however that ends.
process.stdin.resume().on('end', () => process.exit(0));
