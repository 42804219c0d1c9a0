/**
 * The floor for a forwarder in JavaScript on Bun: bytes from one socket to the other, one upstream
 * connection per caller, nothing parsed, nothing checked. UPSTREAMS: the first is used.
 */
const { port, hostname } = new URL(process.env.UPSTREAMS.split(',')[0]);
const upstreamHandlers = {
  open() {},
  data(socket, bytes) {
    socket.data.write(bytes);
  },
  close() {},
};
const server = Bun.listen({
  hostname: '127.0.0.1',
  port: 0,
  socket: {
    async open(socket) {
      socket.setNoDelay(true);
      socket.data = null;
      const upstream = await Bun.connect({
        hostname,
        port: Number(port),
        socket: upstreamHandlers,
        data: socket,
      });
      upstream.setNoDelay(true);
      socket.data = upstream;
      if (socket.early !== undefined) upstream.write(socket.early);
    },
    data(socket, bytes) {
      if (socket.data === null) socket.early = Buffer.from(bytes);
      else socket.data.write(bytes);
    },
    close(socket) {
      socket.data?.end();
    },
  },
});
console.log(server.port);
process.stdin.on('end', () => process.exit(0)).resume();
