/**
 * What the transports do with the runtimes' internals and with borrowed memory, under stress: many
 * connections that do everything in every order, while the collector runs all the time. In processes of
 * their own, because what goes wrong here ends a process. See docs/internals/runtime-internals.md.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { onBun } from '../support/serve-process.ts';

const child = join(dirname(fileURLToPath(import.meta.url)), 'transport-stress-child.js');
const first = Number(process.env['ONEHOP_SEED'] ?? 1);
const seeds = Number(process.env['ONEHOP_SEEDS'] ?? 2);

interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  text: string;
}

function run(scenario: string, seed: number): Promise<Ended> {
  const flags = onBun ? [] : ['--expose-gc'];
  const started = spawn(process.execPath, [...flags, child, scenario, `${seed}`], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let text = '';
  for (const stream of [started.stdout, started.stderr]) {
    stream.setEncoding('utf8').on('data', (part: string) => {
      text += part;
    });
  }
  return new Promise((resolve, reject) => {
    started.on('error', reject);
    started.on('close', (code, signal) => resolve({ code, signal, text }));
  });
}

const scenarios: Record<string, string> = {
  writes: 'pieces of every size, in every order, written from everywhere',
  apart: 'the same with a reader in another thread, which reads within the call that writes',
  huge: 'a piece of 100 MB',
  into: 'reads straight into buffers of every length, asked for at any time',
  relay: 'borrowed and kept bytes that are passed on, joined and given back',
  churn: 'everything that can be called, at any time, on sockets in any state',
  threads: 'threads that are ended in the middle of it',
};

for (const [scenario, what] of Object.entries(scenarios)) {
  test(`under stress: ${what}`, async () => {
    for (let seed = first; seed < first + seeds; seed++) {
      const { code, signal, text } = await run(scenario, seed);
      assert.ok(
        code === 0 && /^done in \d+ ms$/m.test(text),
        `exit ${signal ?? code} of ${scenario}; replay with ONEHOP_SEED=${seed} ONEHOP_SEEDS=1\n${text.slice(-4000)}`,
      );
    }
  });
}
