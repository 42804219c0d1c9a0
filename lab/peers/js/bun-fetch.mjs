/** Bun.serve and Bun's fetch, bodies streamed: what one writes on Bun first. UPSTREAMS: the first is used. */
const base = process.env.UPSTREAMS.split(',')[0];
const server = Bun.serve({
  hostname: '127.0.0.1',
  port: 0,
  maxRequestBodySize: 64 * 1024 * 1024,
  fetch(request) {
    const { pathname, search } = new URL(request.url);
    const headers = new Headers(request.headers);
    headers.delete('host');
    const { method, body } = request;
    return fetch(base + pathname + search, { method, headers, body, redirect: 'manual' });
  },
});
console.log(server.port);
process.stdin.on('end', () => process.exit(0)).resume();
