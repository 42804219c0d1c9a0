import { once } from 'node:events';
import { createServer } from 'node:http';
import { createGateway } from 'onehop/gateway';

// Two services of yours.
const services = ['one', 'two'].map((name) => createServer((_, response) => response.end(name)));
for (const service of services) await once(service.listen(0, '127.0.0.1'), 'listening');
const targets = services.map((service) => `http://127.0.0.1:${service.address().port}`);

const gateway = createGateway({
  listen: '127.0.0.1:0',
  upstreams: { hello: { targets, balance: 'round-robin' } },
  routes: [{ path: '/hello/*', upstream: 'hello' }],
});
const [{ port }] = await gateway.listen();

const ask = async (path) => (await fetch(`http://127.0.0.1:${port}${path}`)).text();
console.log(new Set([await ask('/hello/you'), await ask('/hello/you')]).size, 'services answered');

// One of them dies: its share goes to the other, and no caller sees an error.
services[0].close();
services[0].closeAllConnections();
console.log(await ask('/hello/you'), await ask('/hello/you'), await ask('/hello/you'));
console.log(await ask('/elsewhere'));

await gateway.close({ idleMs: 0 });
services[1].close();
//> 2 services answered
//> two two two
//> .*ROUTE_NOT_FOUND.*
