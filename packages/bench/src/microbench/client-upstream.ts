/** The upstream of `bench:client` as a process of its own: prints its port, ends with its parent. */
import { startUpstream } from './client-upstream-server.ts';

console.log((await startUpstream()).port);
process.stdin.on('end', () => process.exit(0));
process.stdin.resume();
