/**
 * All fuzzers by name. Message `i` of a run depends on the seed and on `i` alone, so any failure is
 * replayed with the seed and index it prints: `node scripts/fuzz.mjs NAME --seed S --from I --runs 1`.
 */
import { canary } from './canary.ts';
import { nodeRequests, nodeResponses } from './node-differential.ts';
import { referenceRequests, referenceResponses } from './reference-differential.ts';

export interface FuzzOptions {
  seed: number;
  /** Index of the first message. */
  from: number;
  runs: number;
  /** Stop after this many failures. */
  failuresMax: number;
  /** Called now and then with the number of messages done. */
  progress?: (done: number) => void;
  /** Called with each failure as it is found, so that a long run shows it at once. */
  found?: (failure: Failure) => void;
}

export interface Failure {
  index: number;
  /** The stream, shortened as far as it still fails. */
  input: string;
  reason: string;
}

export interface FuzzResult {
  runs: number;
  failures: Failure[];
  /** How often each known, explained disagreement was met. */
  explained: Record<string, number>;
}

export interface Fuzzer {
  name: string;
  about: string;
  /** Why it cannot run here, or ''. */
  unavailable: string;
  /** True for the one that must fail. */
  mustFail?: boolean;
  run(options: FuzzOptions): Promise<FuzzResult>;
}

export const FUZZERS: readonly Fuzzer[] = [
  referenceRequests,
  referenceResponses,
  nodeRequests,
  nodeResponses,
  canary,
];

export function findFuzzer(name: string): Fuzzer {
  const fuzzer = FUZZERS.find((entry) => entry.name === name);
  if (fuzzer === undefined) {
    throw new Error(
      `no fuzzer ${name}; there are ${FUZZERS.map((entry) => entry.name).join(', ')}`,
    );
  }
  return fuzzer;
}
