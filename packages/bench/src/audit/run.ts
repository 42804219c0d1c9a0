/** Runs all checks over contestants of this process's own runtime. */
import { createClientSet } from '../api/client-set.ts';
import type { ContestantInfo, ReuseMode } from '../contestants/index.ts';
import { currentRuntime, entryId, loadContestant } from '../contestants/index.ts';
import type { AuditResult } from '../results/types.ts';
import type { Observer } from './behaviours.ts';
import { type AuditSubject, CHECKS, type Driver } from './checks.ts';
import { startObserver } from './observer.ts';
import { startH2Observer } from './observer-h2.ts';

/** Small, so that four times as many requests are still quick. */
export const auditConnectionsMax = 8;
export const auditTimeoutMs = 1200;

/** The observer that speaks a contestant's protocol. */
export function startObserverFor({
  protocol,
}: Pick<ContestantInfo, 'protocol'>): Promise<Observer> {
  return protocol === 'h2c' ? startH2Observer() : startObserver();
}

/** Every check on one subject; a check that breaks off is a failure, never an exception. */
export async function auditSubject(entry: string, subject: AuditSubject): Promise<AuditResult[]> {
  const results: AuditResult[] = [];
  for (const check of CHECKS) {
    try {
      results.push({ entry, check: check.name, ...(await check.run(subject)) });
    } catch (error) {
      const detail = error instanceof Error ? error.message : String(error);
      results.push({ entry, check: check.name, verdict: 'fail', detail });
    }
  }
  return results;
}

/** Audits one contestant in one mode, in this process. */
export async function auditContestant(
  contestant: ContestantInfo,
  reuse: ReuseMode,
): Promise<AuditResult[]> {
  const observer = await startObserverFor(contestant);
  const clients = createClientSet(reuse, {
    baseUrl: observer.baseUrl,
    connectionsMax: auditConnectionsMax,
    timeoutMs: auditTimeoutMs,
  });
  const driver: Driver = {
    async getMessage() {
      const answer = await clients.getJson(contestant.name, 'request_response/');
      const message = (answer as { message?: unknown } | null)?.message;
      // A wrong value must not look like a rejection: the checks compare it.
      return typeof message === 'string' ? message : JSON.stringify(answer);
    },
  };
  try {
    return await auditSubject(entryId(contestant.name, currentRuntime(), reuse), {
      driver,
      observer,
      reuse,
      protocol: contestant.protocol,
      connectionsMax: auditConnectionsMax,
      timeoutMs: auditTimeoutMs,
    });
  } finally {
    await clients.close();
    await observer.close();
  }
}

/** Audits the named contestants in all their modes, side by side. */
export async function auditHere(names: readonly string[]): Promise<AuditResult[]> {
  const runs: Promise<AuditResult[]>[] = [];
  for (const name of names) {
    const contestant = await loadContestant(name);
    if (contestant === null) throw new Error(`unknown contestant ${name}`);
    for (const reuse of contestant.modes) runs.push(auditContestant(contestant, reuse));
  }
  return (await Promise.all(runs)).flat();
}
