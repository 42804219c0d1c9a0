/** A plain stand-in in a process of its own, so that it can be killed: `upstream-child.js PORT`. */
import { startPlainService } from '@onehop/mock';

const service = await startPlainService({ port: Number(process.argv[2] ?? 0) });
console.log(service.port);
process.stdin.on('end', () => process.exit(0)).resume();
