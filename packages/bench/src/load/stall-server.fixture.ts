/** A process that a test can stop and continue. Prints its port; ends when its input does. */
import { startTestServer } from './test-server.fixture.ts';

const server = await startTestServer();
console.log(new URL(server.url).port);
process.stdin.on('end', () => process.exit(0)).resume();
