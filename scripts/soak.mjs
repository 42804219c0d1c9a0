// Ten minutes of load (`--minutes N`) through a gateway on Node and then on Bun, half of the time each,
// while upstreams are killed and the configuration is reloaded. Exit code 1 when anything is lost or
// grows. `--runtime node|bun` picks one.
import { parseArgs } from 'node:util';
import { findBun } from '../packages/onehop/dist/cli/find-bun.js';
import { describeSoak, judgeSoak, runSoak } from '../test/dist/soak/soak.js';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '10' },
    runtime: { type: 'string', default: 'both' },
  },
});
const all = [
  ['node', process.execPath],
  ['bun', findBun()],
].filter(([name]) => values.runtime === 'both' || values.runtime === name);
let failed = false;
for (const [name, executable] of all) {
  if (executable === null) {
    console.log('Bun was not found: only Node was tried');
    continue;
  }
  const durationMs = (Number(values.minutes) * 60_000) / all.length;
  const result = await runSoak({ durationMs, callers: 32, disturbEveryMs: 10_000, executable });
  const wrong = judgeSoak(result, 30);
  console.log(`${name}: ${describeSoak(result)}`);
  for (const reason of wrong) console.log(`  FAILED: ${reason}`);
  if (wrong.length > 0) failed = true;
}
process.exit(failed ? 1 : 0);
