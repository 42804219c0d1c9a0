// Ten minutes (`--minutes N`) of long bodies, 1 to 100 MB, through `onehop serve` and through the client
// library, on Node and then on Bun, so long on each: up and down, with lengths and chunked, fast, slow
// and in bursts, small requests in between, some callers leaving half-way. Every byte is checked. Exit
// code 1 when a process ends, a byte is wrong, a transfer fails or hangs, or something is left or grows.
// `--runtime node|bun` picks one, `--out FILE` writes the result as JSON.
import { parseArgs } from 'node:util';
import { findBun } from '../packages/onehop/dist/cli/find-bun.js';
import { runBodies } from '../test/dist/soak/bodies.js';
import { describeBodies, growthOf, judgeBodies } from '../test/dist/soak/bodies-report.js';
import { endOnSignal, writeResult } from './gateway-result.mjs';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '10' },
    runtime: { type: 'string', default: 'both' },
    out: { type: 'string' },
  },
});
const rssGrowthMbMax = 64;
const runs = [];
endOnSignal();
for (const runtime of ['node', 'bun']) {
  if (values.runtime !== 'both' && values.runtime !== runtime) continue;
  const executable = runtime === 'node' ? process.execPath : findBun();
  if (executable === null) {
    console.log('Bun was not found: only Node was tried');
    continue;
  }
  const durationMs = Number(values.minutes) * 60_000;
  const startedAt = new Date().toISOString();
  const sampleEveryMs = Math.min(5000, durationMs / 30);
  const clientRounds = Math.ceil(Number(values.minutes) * 3);
  const options = { durationMs, sampleEveryMs, clientRounds, runtime, executable };
  const result = await runBodies(options);
  const wrong = judgeBodies(result, rssGrowthMbMax);
  console.log(`${runtime}: ${describeBodies(result)}`);
  for (const reason of wrong) console.log(`  FAILED: ${reason}`);
  runs.push({ startedAt, rssGrowthMbMax, wrong, growth: growthOf(result), ...result });
}
if (values.out !== undefined) writeResult(values.out, 'soak:bodies', runs);
process.exit(runs.some(({ wrong }) => wrong.length > 0) ? 1 : 0);
