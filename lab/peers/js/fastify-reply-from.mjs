/** @fastify/reply-from on Fastify and undici. UPSTREAMS: origins, comma separated; the first is used. */
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

// Installed for packages/bench, not for lab.
const require = createRequire(new URL('../../../packages/bench/package.json', import.meta.url));
const load = async (name) => (await import(pathToFileURL(require.resolve(name)).href)).default;
const fastify = await load('fastify');
const replyFrom = await load('@fastify/reply-from');

const app = fastify({ logger: false, bodyLimit: 64 * 1024 * 1024 });
app.removeAllContentTypeParsers();
app.addContentTypeParser('*', (_request, payload, done) => done(null, payload));
app.register(replyFrom, {
  base: process.env.UPSTREAMS.split(',')[0],
  undici: { connections: 1024, pipelining: 1 },
});
app.all('/*', (request, reply) => reply.from(request.raw.url));
await app.listen({ host: '127.0.0.1', port: 0 });
console.log(app.server.address().port);
process.stdin.on('end', () => process.exit(0)).resume();
