// What the storm and the soaks have in common: how their result is written, and how they are ended.
import { writeFileSync } from 'node:fs';
import { executableVersion, rigFacts } from '../packages/bench/dist/study/rig.js';
import { findBun } from '../packages/onehop/dist/cli/find-bun.js';

/** Ctrl-C or `kill` end this process by `exit`, and with it the gateways it has started. */
export function endOnSignal() {
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ]) {
    process.once(signal, () => process.exit(code));
  }
}

/** @param name `storm`, `soak` or `soak:bodies`, the npm script */
export function writeResult(file, name, runs) {
  const machine = rigFacts({
    nodeVersion: process.versions.node,
    bunVersion: executableVersion(findBun()),
    pythonVersion: null,
    generator: `${name} callers on node ${process.versions.node}`,
  });
  const command = [`npm run ${name} --`, ...process.argv.slice(2)].join(' ');
  const createdAt = new Date().toISOString();
  const result = { kind: `gateway-${name.replace(':', '-')}`, createdAt, command, machine, runs };
  writeFileSync(file, `${JSON.stringify(result, null, 2)}\n`);
  console.log(`written to ${file}`);
}
