// Ten minutes of load (`--minutes N`) through `onehop serve` with two workers, on Node and then on Bun,
// half of the time each, while upstreams and workers are killed, workers are replaced and the
// configuration is reloaded. Exit code 1 when anything is lost or grows. `--runtime node|bun` picks one,
// `--rate N` requests per second, `--out FILE` writes the result as JSON.
import { parseArgs } from 'node:util';
import { findBun } from '../packages/onehop/dist/cli/find-bun.js';
import { runSoak } from '../test/dist/soak/soak.js';
import { describeSoak, growthOf, judgeSoak } from '../test/dist/soak/soak-report.js';
import { endOnSignal, writeResult } from './gateway-result.mjs';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '10' },
    rate: { type: 'string', default: '300' },
    runtime: { type: 'string', default: 'both' },
    out: { type: 'string' },
  },
});
const runtimes = ['node', 'bun'].filter(
  (name) => values.runtime === 'both' || values.runtime === name,
);
const rssGrowthMbMax = 15;
const runs = [];
endOnSignal();
for (const runtime of runtimes) {
  if (runtime === 'bun' && findBun() === null) {
    console.log('Bun was not found: only Node was tried');
    continue;
  }
  const durationMs = (Number(values.minutes) * 60_000) / runtimes.length;
  const startedAt = new Date().toISOString();
  const result = await runSoak({
    durationMs,
    disturbEveryMs: Math.min(5000, durationMs / 15),
    ratePerS: Number(values.rate),
    runtime,
  });
  const wrong = judgeSoak(result, rssGrowthMbMax);
  console.log(`${runtime}: ${describeSoak(result)}`);
  for (const reason of wrong) console.log(`  FAILED: ${reason}`);
  runs.push({ startedAt, rssGrowthMbMax, wrong, growth: growthOf(result), ...result });
}
if (values.out !== undefined) writeResult(values.out, 'soak', runs);
process.exit(runs.some(({ wrong }) => wrong.length > 0) ? 1 : 0);
