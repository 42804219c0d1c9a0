/** Runs all checks over contestants of this process's own runtime. */
import { createClientSet } from '../api/client-set.ts';
import type { ChatForwarder, ContestantInfo, Forwarder, ReuseMode } from '../contestants/index.ts';
import {
  chatPrompt,
  currentRuntime,
  entryId,
  loadChatContestant,
  loadContestant,
} from '../contestants/index.ts';
import type { AuditResult } from '../results/types.ts';
import { type AskedCase, chatCase, messageCase, type Observer } from './behaviours.ts';
import { type AuditSubject, CHECKS, type Driver } from './checks.ts';
import { startObserver } from './observer.ts';
import { startH2Observer } from './observer-h2.ts';

/** Small, so that four times as many requests are still quick. */
export const auditConnectionsMax = 8;
/** Of the client that the check of time limits stalls. */
export const auditTimeoutMs = 1200;
/**
 * Of the others, which a busy machine may keep waiting without being unfair. needle learns of a cut body
 * by this limit only, two times in a row, and the audit of a study has 30 s in all.
 */
const patientTimeoutMs = 4000;

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

const options = (observer: Observer, timeoutMs: number) => ({
  baseUrl: observer.baseUrl,
  connectionsMax: auditConnectionsMax,
  timeoutMs,
});

/** Audits a client in one mode, in this process, and closes it with its observer. */
async function auditDriver(
  { name, protocol }: ContestantInfo,
  reuse: ReuseMode,
  asked: AskedCase,
  observer: Observer,
  makeDriver: (timeoutMs: number) => Driver & { close(): Promise<void> },
): Promise<AuditResult[]> {
  const driver = makeDriver(patientTimeoutMs);
  const hasty = makeDriver(auditTimeoutMs);
  try {
    return await auditSubject(entryId(name, currentRuntime(), reuse), {
      driver,
      hasty,
      observer,
      asked,
      reuse,
      protocol,
      connectionsMax: auditConnectionsMax,
      timeoutMs: auditTimeoutMs,
    });
  } finally {
    await driver.close();
    await hasty.close();
    await observer.close();
  }
}

/** Audits one contestant in one mode. */
async function auditContestant(info: ContestantInfo, reuse: ReuseMode): Promise<AuditResult[]> {
  const observer = await startObserverFor(info);
  return auditDriver(info, reuse, messageCase, observer, (timeoutMs) => {
    const set = createClientSet<Forwarder>(reuse, options(observer, timeoutMs), loadContestant);
    return {
      async getMessage() {
        const answer = await set.use(info.name, (client) => client.getJson('request_response/'));
        const message = (answer as { message?: unknown } | null)?.message;
        // A wrong value must not look like a rejection: the checks compare it.
        return typeof message === 'string' ? message : JSON.stringify(answer);
      },
      close: () => set.close(),
    };
  });
}

/** The same for the chat case. */
async function auditChat(info: ContestantInfo, reuse: ReuseMode): Promise<AuditResult[]> {
  const observer = await startObserver(chatCase);
  return auditDriver(info, reuse, chatCase, observer, (timeoutMs) => {
    const settings = options(observer, timeoutMs);
    const set = createClientSet<ChatForwarder>(reuse, settings, loadChatContestant);
    return {
      getMessage: () => set.use(info.name, (client) => client.complete(chatPrompt)),
      close: () => set.close(),
    };
  });
}

/** Audits the named contestants in all their modes, those of a case side by side. */
export async function auditHere(names: readonly string[]): Promise<AuditResult[]> {
  const runs: Promise<AuditResult[]>[] = [];
  const chats: (() => Promise<AuditResult[]>)[] = [];
  for (const name of names) {
    const contestant = await loadContestant(name);
    const chat = contestant === null ? await loadChatContestant(name) : null;
    for (const reuse of contestant?.modes ?? []) runs.push(auditContestant(contestant!, reuse));
    for (const reuse of chat?.modes ?? []) chats.push(() => auditChat(chat!, reuse));
    if (contestant === null && chat === null) throw new Error(`unknown contestant ${name}`);
  }
  const results = await Promise.all(runs);
  // One case after the other: all at once would keep a busy machine from meeting the time limit.
  results.push(...(await Promise.all(chats.map((run) => run()))));
  return results.flat();
}
