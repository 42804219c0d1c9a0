// node scripts/fuzz.mjs NAME [--seed S] [--runs N] [--from I]: runs one fuzzer of test/fuzz and prints
// the seed, so that what it finds can be replayed. Exit 1 when it finds something (for the canary:
// when it does not). `--list` names them all.
import { parseArgs } from 'node:util';

const { values, positionals } = parseArgs({
  options: {
    seed: { type: 'string' },
    runs: { type: 'string', default: '100000' },
    from: { type: 'string', default: '0' },
    failures: { type: 'string', default: '5' },
    list: { type: 'boolean', default: false },
  },
  allowPositionals: true,
});
const { FUZZERS, findFuzzer } = await import('../test/dist/fuzz/registry.js').catch(() => {
  console.error('test/dist is missing: run `npm run build` first');
  process.exit(1);
});
if (values.list || positionals.length !== 1) {
  for (const { name, about, unavailable } of FUZZERS) {
    console.log(`${name.padEnd(20)} ${about}${unavailable ? ` (not here: ${unavailable})` : ''}`);
  }
  process.exit(values.list ? 0 : 2);
}
const whole = (name) => {
  const number = Number(values[name]);
  if (!Number.isSafeInteger(number) || number < 0) {
    console.error(`--${name} must be a whole number`);
    process.exit(2);
  }
  return number;
};
const fuzzer = findFuzzer(positionals[0]);
if (fuzzer.unavailable) {
  console.error(`${fuzzer.name} cannot run here: ${fuzzer.unavailable}`);
  process.exit(2);
}
const seed = values.seed === undefined ? (Date.now() ^ (process.pid << 16)) >>> 0 : whole('seed');
const runs = whole('runs');
console.log(`${fuzzer.name} seed ${seed} runs ${runs}`);
const started = performance.now();
const result = await fuzzer.run({
  seed,
  runs,
  from: whole('from'),
  failuresMax: whole('failures'),
  found: ({ index, input, reason }) => {
    console.log(`\nmessage ${index}: ${reason}\n${JSON.stringify(input)}`);
    console.log(
      `replay: node scripts/fuzz.mjs ${fuzzer.name} --seed ${seed} --from ${index} --runs 1`,
    );
  },
  progress: (done) => {
    const seconds = (performance.now() - started) / 1000;
    console.log(
      `${done} messages, ${Math.round(done / seconds)} per second, ${Math.round(process.memoryUsage().rss / 2 ** 20)} MB`,
    );
  },
});
const seconds = (performance.now() - started) / 1000;
for (const [why, times] of Object.entries(result.explained).sort((a, b) => b[1] - a[1])) {
  console.log(`explained ${times} times: ${why}`);
}
console.log(
  `${result.runs} messages, ${result.failures.length} disagreements, ${seconds.toFixed(1)} s, seed ${seed}`,
);
process.exit(result.failures.length > 0 === Boolean(fuzzer.mustFail) ? 0 : 1);
