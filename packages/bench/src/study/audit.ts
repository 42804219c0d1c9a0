/** The fairness audit as part of a study: all runtimes at once, doubtful failures a second time. */
import { KNOWN_FAILURES, runAudit } from '../audit/index.ts';
import type { Runtime } from '../contestants/types.ts';
import type { AuditResult, Entry } from '../results/types.ts';

/** A study with a budget is about measuring: the audit must leave it most of the time. */
export const AUDIT_MS_MAX = 30_000;

export interface AuditOutcome {
  results: AuditResult[];
  warnings: string[];
}

type RunAudit = typeof runAudit;

const isUnexpected = ({ entry, check, verdict }: AuditResult): boolean =>
  verdict === 'fail' &&
  !KNOWN_FAILURES.some((known) => known.entry === entry && known.check === check);

/**
 * Audits the contestants among `entries`. The checks watch the clock, and auditing side by side on few
 * cores can make an honest client late: whoever fails is audited once more, with nothing else
 * running, and the second result counts.
 */
export async function auditEntries(
  entries: readonly Entry[],
  signal: AbortSignal,
  run: RunAudit = runAudit,
): Promise<AuditOutcome> {
  const contestants = entries.filter(({ role }) => role === 'contestant');
  const ids = new Set(contestants.map(({ id }) => id));
  const runtimes = [...new Set(contestants.map(({ runtime }) => runtime))];
  const warnings: string[] = [];
  const attempt = async (runtime: Runtime, wanted: (entry: Entry) => boolean) => {
    const chosen = contestants.filter((entry) => entry.runtime === runtime && wanted(entry));
    const names = [...new Set(chosen.map(({ contestant }) => contestant))];
    if (names.length === 0) return [];
    try {
      return await run({ runtimes: [runtime], names, signal });
    } catch (error) {
      const reason = signal.aborted ? 'was broken off' : `failed: ${(error as Error).message}`;
      const which = chosen.map(({ id }) => id).join(', ');
      warnings.push(`the fairness audit on ${runtime} ${reason}; not audited: ${which}`);
      return null;
    }
  };
  const results = new Map<string, AuditResult[]>();
  const keep = (found: readonly AuditResult[]): void => {
    for (const id of new Set(found.map(({ entry }) => entry))) {
      if (ids.has(id))
        results.set(
          id,
          found.filter(({ entry }) => entry === id),
        );
    }
  };
  const first = await Promise.all(runtimes.map((runtime) => attempt(runtime, () => true)));
  for (const found of first) keep(found ?? []);
  const doubtful = new Set(
    [...results].filter(([, checks]) => checks.some(isUnexpected)).map(([id]) => id),
  );
  // What only failed in company is not known until it has failed alone.
  for (const id of doubtful) results.delete(id);
  for (const runtime of runtimes) {
    const again = await attempt(runtime, ({ id }) => doubtful.has(id));
    keep((again ?? []).filter(({ entry }) => doubtful.has(entry)));
  }
  return { results: [...results.values()].flat(), warnings };
}
