/**
 * The generating process: takes a plan on its standard input, writes progress and the result as
 * lines of JSON, draws nothing. When its input ends, its parent is gone and so is it.
 */
import { createInterface } from 'node:readline';
import { transport } from 'onehop/transport';
import { CliError } from '../cli-error.ts';
import { decodePlan } from './plan.ts';
import { primeEngine } from './prime.ts';
import { runLoad } from './run.ts';

export type ChildMessage =
  | { kind: 'progress'; progress: import('./types.ts').LoadProgress }
  | { kind: 'result'; result: Omit<import('./types.ts').LoadResult, 'plan'> }
  | { kind: 'error'; message: string; exitCode: number };

const stop = new AbortController();
// A terminal sends Ctrl-C to the whole group; the parent decides and says `stop`.
process.on('SIGINT', () => {});

function say(message: ChildMessage): Promise<void> {
  return new Promise((resolve) => {
    process.stdout.write(`${JSON.stringify(message)}\n`, () => resolve());
  });
}

async function run(planText: string): Promise<void> {
  let answer: ChildMessage;
  try {
    const plan = decodePlan(planText);
    // What priming compiles is the wire of HTTP/1.1.
    if (!plan.http2) await primeEngine(plan, transport.clock);
    // The parent has the plan; as JSON the bytes of a long body take seconds.
    const { plan: _, ...result } = await runLoad(plan, {
      signal: stop.signal,
      onProgress: (progress) => void say({ kind: 'progress', progress }),
    });
    answer = { kind: 'result', result };
  } catch (error) {
    const expected = error instanceof CliError;
    const message = expected ? error.message : String((error as Error).stack ?? error);
    answer = { kind: 'error', message, exitCode: expected ? error.exitCode : 1 };
  }
  await say(answer);
  process.exit(0);
}

let started = false;
const lines = createInterface({ input: process.stdin });
lines.on('line', (line) => {
  if (!started) {
    started = true;
    void run(line);
  } else if (line === 'stop') stop.abort();
});
lines.on('close', () => process.exit(1));
