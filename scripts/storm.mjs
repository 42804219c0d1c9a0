// Kills 1,000 callers in random phases, through a gateway on Node and then on Bun, and says how soon
// the upstream saw each close. Exit code 1 when a bar is missed. `--clients N`, `--concurrency N`.
import { parseArgs } from 'node:util';
import { findBun } from '../packages/onehop/dist/cli/find-bun.js';
import { describeStorm, quantile, runStorm } from '../test/dist/soak/storm.js';

const { values } = parseArgs({
  options: {
    clients: { type: 'string', default: '1000' },
    concurrency: { type: 'string', default: '50' },
  },
});
let failed = false;
for (const [name, executable] of [
  ['node', process.execPath],
  ['bun', findBun()],
]) {
  if (executable === null) {
    console.log('Bun was not found: only Node was tried');
    continue;
  }
  const clients = Number(values.clients);
  const result = await runStorm({ clients, concurrency: Number(values.concurrency), executable });
  console.log(`${name}: ${describeStorm(result)}`);
  const { after, missed, delaysMs } = result;
  const left = after.exchangesOpen + after.pending + after.queued + after.connectionsOpen;
  if (missed > 0 || left > 0) failed = true;
  if (quantile(delaysMs, 0.5) >= 5 || delaysMs.at(-1) >= 50) failed = true;
}
process.exit(failed ? 1 : 0);
