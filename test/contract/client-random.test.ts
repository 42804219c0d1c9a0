import { test } from 'node:test';
import { randomClientRun } from './client-random.ts';

const seeds = Number(process.env['ONEHOP_SEEDS'] ?? 2000);
const first = Number(process.env['ONEHOP_SEED'] ?? 1);

test(`${seeds} random runs of the client against a misbehaving server`, async () => {
  for (let seed = first; seed < first + seeds; seed++) {
    try {
      await randomClientRun(seed);
    } catch (error) {
      const message = `${(error as Error).message}; replay with ONEHOP_SEED=${seed} ONEHOP_SEEDS=1`;
      throw new Error(message, { cause: error });
    }
  }
});
