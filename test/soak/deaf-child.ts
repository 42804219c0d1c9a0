/** A listener whose process sleeps for ever: accepts nothing. Says its port; see deaf.ts. */
import { writeSync } from 'node:fs';
import { createServer } from 'node:net';

const server = createServer();
server.listen(0, '127.0.0.1', 1, () => {
  const { port } = server.address() as { port: number };
  // In one go: whoever reads the port finds it asleep, and nothing was accepted before.
  writeSync(1, `${port}\n`);
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
});
