/** httpxy on node:http with a keep-alive agent. UPSTREAMS: origins; the first is used. */
import { Agent, createServer } from 'node:http';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const require = createRequire(new URL('../../../packages/bench/package.json', import.meta.url));
const { createProxyServer } = await import(pathToFileURL(require.resolve('httpxy')).href);

const proxy = createProxyServer({
  target: process.env.UPSTREAMS.split(',')[0],
  agent: new Agent({ keepAlive: true, maxSockets: 1024 }),
});
const server = createServer((request, response) => {
  proxy.web(request, response).catch(() => response.destroy());
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
process.stdin.on('end', () => process.exit(0)).resume();
