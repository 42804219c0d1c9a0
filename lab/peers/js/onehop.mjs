/**
 * Our gateway as it is measured: two targets, least-pending, every deadline, request ids, metrics.
 * UPSTREAMS: origins, comma separated. PIPELINING: requests under way per upstream connection.
 * CONNECTIONS: upstream connections per target. Prints its port; ends when its input does.
 */
import { createGateway, MetricsObserver } from 'onehop/gateway';

const { UPSTREAMS = '', PIPELINING = '1', CONNECTIONS = '1024' } = process.env;
const config = {
  listen: '127.0.0.1:0',
  upstreams: {
    target: {
      targets: UPSTREAMS.split(','),
      balance: 'least-pending',
      timeouts: { connect: '1s', head: '60s', firstByte: '60s', idle: '30s', total: '10m' },
      limits: {
        pending: 20_000,
        pendingPerTarget: 20_000,
        connections: Number(CONNECTIONS),
        poolIdle: '60s',
      },
      pipelining: Number(PIPELINING),
      breaker: {},
    },
  },
  routes: [
    { path: '/v1/models/:model/infer', methods: ['POST'], upstream: 'target' },
    { path: '/v1/*', upstream: 'target', serverTiming: false },
    { path: '/*', upstream: 'target' },
  ],
  limits: {
    body: '64MiB',
    connections: 30_000,
    connectionsPerAddress: 30_000,
    requestsPerConnection: 1_000_000_000,
    keepAlive: '5m',
  },
};
const gateway = createGateway(config, { observer: new MetricsObserver({ version: 'bench' }) });
const [listener] = await gateway.listen();
console.log(listener.port);
process.stdin.on('end', () => process.exit(0)).resume();
