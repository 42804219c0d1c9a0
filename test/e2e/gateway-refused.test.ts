/** A target that is down costs callers nothing, however little may be retried. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { startPlainService } from '@onehop/mock';
import { createGateway } from 'onehop/gateway';
import { ask } from '../support/serve-process.ts';

test('a refused connect is no retry: an empty budget does not fail the request', async () => {
  const service = await startPlainService({ sizeBytes: 5 });
  const closed = createServer();
  await once(closed.listen(0, '127.0.0.1'), 'listening');
  const { port: closedPort } = closed.address() as { port: number };
  await new Promise((resolve) => closed.close(resolve));
  const gateway = createGateway({
    listen: '127.0.0.1:0',
    upstreams: {
      up: {
        targets: [`http://127.0.0.1:${closedPort}`, `http://127.0.0.1:${service.port}`],
        balance: 'round-robin',
        health: { ejectAfter: 1000 },
        retry: { budget: 0, budgetMin: 0 },
      },
    },
    routes: [{ path: '/*', upstream: 'up' }],
  });
  try {
    const [listener] = await gateway.listen();
    for (let i = 0; i < 10; i++) {
      assert.equal((await ask(`http://127.0.0.1:${listener!.port}/`)).status, 200);
    }
  } finally {
    await gateway.close({ idleMs: 0 });
    await service.close();
  }
});
