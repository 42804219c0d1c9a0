// Kills 1,000 callers in random phases, three times over, through a gateway on Node and then on Bun,
// then 1,000 at once by killing their process, and says how soon the upstream saw each close. Exit code
// 1 when a bar is missed. `--clients N`, `--waves N`, `--runtime node|bun`, `--mode spread|at-once`,
// `--out FILE` writes the result as JSON.
import { parseArgs } from 'node:util';
import { findBun } from '../packages/onehop/dist/cli/find-bun.js';
import { runStorm } from '../test/dist/soak/storm.js';
import { describeStorm, judgeStorm, stormBars } from '../test/dist/soak/storm-report.js';
import { endOnSignal, writeResult } from './gateway-result.mjs';

const { values } = parseArgs({
  options: {
    clients: { type: 'string', default: '1000' },
    waves: { type: 'string', default: '3' },
    runtime: { type: 'string', default: 'both' },
    mode: { type: 'string', default: 'both' },
    seed: { type: 'string', default: '1' },
    out: { type: 'string' },
  },
});
const clients = Number(values.clients);
const seed = Number(values.seed);
const runs = [];
endOnSignal();

async function run(runtime, options) {
  const startedAt = new Date().toISOString();
  const result = await runStorm({ clients, seed, ...options });
  const control = options.direct === true;
  // Under a burst of a thousand what counts is that nothing is missed; its times are only told.
  const bars =
    options.mode === 'spread' ? stormBars : { ...stormBars, medianMs: 1000, worstMs: 3000 };
  const wrong = control ? [] : judgeStorm(result, bars);
  console.log(`${runtime}: ${describeStorm(result)}`);
  for (const reason of wrong) console.log(`  FAILED: ${reason}`);
  runs.push({ runtime, startedAt, seed, bars: control ? null : bars, wrong, ...result });
}

const spread = { mode: 'spread', waves: Number(values.waves), spreadMs: clients * 4 };
const atOnce = { mode: 'at-once', waves: 1, spreadMs: 0 };
// What callers and upstream of this measurement cost by themselves.
await run('no gateway', { ...spread, waves: 1, direct: true });
if (values.mode !== 'spread') await run('no gateway', { ...atOnce, direct: true });
for (const [name, executable] of [
  ['node', process.execPath],
  ['bun', findBun()],
]) {
  if (values.runtime !== 'both' && values.runtime !== name) continue;
  if (executable === null) {
    console.log('Bun was not found: only Node was tried');
    continue;
  }
  if (values.mode !== 'at-once') await run(name, { ...spread, executable });
  if (values.mode !== 'spread') await run(name, { ...atOnce, executable });
}
const failed = runs.some(({ wrong }) => wrong.length > 0);
if (values.out !== undefined) writeResult(values.out, 'storm', runs);
process.exit(failed ? 1 : 0);
