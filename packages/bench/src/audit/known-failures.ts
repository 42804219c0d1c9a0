import type { AuditResult } from '../results/types.ts';

/** A check that an adapter cannot pass. It is shown as failed, with this reason beside it. */
export interface KnownFailure {
  entry: string;
  check: string;
  reason: string;
}

/** A test fails when one of these passes after all, and when anything fails that is not here. */
export const KNOWN_FAILURES: readonly KnownFailure[] = [
  {
    entry: 'bun-fetch@bun',
    check: 'no-retry',
    reason:
      "Bun's fetch sends a GET again when a reused connection ends before its answer; no option turns that off",
  },
  ...['openai', 'chat-fetch'].map((name) => ({
    entry: `${name}@bun.per-request`,
    check: 'keep-alive',
    reason: "Bun's fetch has one pool for the whole process, which outlives any client over it",
  })),
];

/** Adds the reason to a failure that is known. */
export function explainKnown(result: AuditResult): AuditResult {
  if (result.verdict !== 'fail') return result;
  const known = KNOWN_FAILURES.find(
    ({ entry, check }) => entry === result.entry && check === result.check,
  );
  return known === undefined
    ? result
    : { ...result, known: true, detail: `${result.detail}: ${known.reason}` };
}
