/**
 * A gateway in a process of its own, for storms: the configuration comes as JSON in the first
 * argument, the port goes out as the first line; each line in is answered with the gauges.
 */
import { createInterface } from 'node:readline';
import { createGateway, type GatewayConfigInput } from 'onehop/gateway';

const input = JSON.parse(process.argv[2]!) as GatewayConfigInput;
const gateway = createGateway(input);
const [listener] = await gateway.listen();
console.log(listener!.port);

function report(): object {
  let pending = 0;
  let queued = 0;
  let connections = 0;
  for (const upstream of gateway.tables.upstreams.values()) {
    pending += upstream.pending;
    queued += upstream.queue.length;
    for (const { origin, pending: ofMember } of upstream.members) {
      pending += ofMember;
      const { idle, busy, opening } = origin.stats().connections;
      connections += idle + busy + opening;
    }
  }
  const { exchangesOpen, connectionsOpen } = gateway.server.counters;
  const rssMb = process.memoryUsage().rss / 1e6;
  return { pending, queued, connections, exchangesOpen, connectionsOpen, rssMb };
}

const lines = createInterface({ input: process.stdin });
lines.on('line', () => console.log(JSON.stringify(report())));
lines.on('close', () => process.exit(0));
