/** The checks of the fairness audit. Each drives one client against an observing upstream. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ReuseMode, UpstreamProtocol } from '../contestants/index.ts';
import type { AuditResult } from '../results/types.ts';
import type { AskedCase, BehaviourInput, BehaviourKind, Observer } from './behaviours.ts';
import { largeMessage } from './behaviours.ts';

/** A client under audit: one request of its case, resolved to the message of the answer. */
export interface Driver {
  getMessage(): Promise<string>;
}

export interface AuditSubject {
  driver: Driver;
  /** The client with a time limit of `timeoutMs`; without it, `driver` has that limit. */
  hasty?: Driver;
  observer: Observer;
  asked: AskedCase;
  reuse: ReuseMode;
  protocol: UpstreamProtocol;
  connectionsMax: number;
  timeoutMs: number;
}

export type Finding = Pick<AuditResult, 'verdict' | 'detail'>;
export interface Check {
  name: string;
  run(subject: AuditSubject): Promise<Finding>;
}

const pass = (detail: string): Finding => ({ verdict: 'pass', detail });
const fail = (detail: string): Finding => ({ verdict: 'fail', detail });
const notApplicable = (detail: string): Finding => ({ verdict: 'not-applicable', detail });

const isMessage = (text: string) => /^m-\d+$/.test(text);

/** How a request ended: its message, or null with the reason. */
interface Outcome {
  message: string | null;
  reason: string;
}

async function attempt(driver: Driver): Promise<Outcome> {
  try {
    return { message: await driver.getMessage(), reason: '' };
  } catch (error) {
    return { message: null, reason: error instanceof Error ? error.message : String(error) };
  }
}

async function sequential(driver: Driver, count: number): Promise<number> {
  let good = 0;
  for (let i = 0; i < count; i++) {
    const { message } = await attempt(driver);
    if (message !== null && isMessage(message)) good++;
  }
  return good;
}

async function until(condition: () => boolean, limitMs: number): Promise<boolean> {
  for (let waited = 0; waited < limitMs && !condition(); waited += 10) await sleep(10);
  return condition();
}

/** Runs 4 x connectionsMax requests at once against an upstream that takes a while. */
async function crowd({ driver, observer, connectionsMax }: AuditSubject): Promise<string[]> {
  const count = connectionsMax * 4;
  const slow: BehaviourInput = { kind: 'answer', delayMs: 30 };
  observer.reset();
  observer.behave(...Array<BehaviourInput>(count).fill(slow));
  const outcomes = await Promise.all(Array.from({ length: count }, () => attempt(driver)));
  const bad = outcomes.find(({ message }) => message === null || !isMessage(message));
  if (bad !== undefined) throw new Error(`a concurrent request failed: ${bad.reason}`);
  return outcomes.map(({ message }) => message!);
}

async function checkPoolSize(subject: AuditSubject): Promise<Finding> {
  const { observer, connectionsMax } = subject;
  if (subject.reuse === 'per-request') return notApplicable('each request has a client of its own');
  const messages = await crowd(subject);
  if (new Set(messages).size !== messages.length) return fail('two requests got the same answer');
  const { connectionsPeak, concurrencyPeak } = observer.seen();
  const seen = `${connectionsPeak} connections at most for ${messages.length} requests at once`;
  if (subject.protocol === 'h2c') {
    if (concurrencyPeak <= 1) return fail('one request at a time on a multiplexed connection');
    return notApplicable(`multiplexes: ${seen}, ${concurrencyPeak} streams at a time`);
  }
  if (connectionsPeak > connectionsMax) return fail(`${seen}, limit ${connectionsMax}`);
  if (connectionsPeak < connectionsMax) {
    return fail(`${seen}: does not use the ${connectionsMax} it may`);
  }
  return pass(seen);
}

async function checkKeepAlive({ driver, observer, reuse }: AuditSubject): Promise<Finding> {
  const count = 8;
  await sequential(driver, 1);
  observer.reset();
  const good = await sequential(driver, count);
  if (good !== count) return fail(`${count - good} of ${count} requests failed`);
  const { connectionsOpened, requests } = observer.seen();
  const seen = `${connectionsOpened} connections opened for ${requests} requests in a row`;
  if (reuse === 'shared') return connectionsOpened === 0 ? pass(seen) : fail(seen);
  if (connectionsOpened !== count) return fail(`${seen}: a client outlives its request`);
  const closed = await until(() => observer.seen().connectionsOpen === 0, 1500);
  const { connectionsOpen } = observer.seen();
  return closed ? pass(`${seen}, all closed`) : fail(`${seen}, ${connectionsOpen} left open`);
}

async function checkPipelining(subject: AuditSubject): Promise<Finding> {
  if (subject.protocol === 'h2c') return notApplicable('HTTP/2 multiplexes by design');
  if (subject.reuse === 'per-request') return notApplicable('a client serves one request only');
  await crowd(subject);
  const { pipelined, requests } = subject.observer.seen();
  const seen = `${pipelined} of ${requests} requests were sent before the answer to the one before`;
  return pipelined === 0 ? pass(seen) : fail(seen);
}

async function checkRedirect({ driver, observer }: AuditSubject): Promise<Finding> {
  observer.reset();
  observer.behave('redirect');
  const { message, reason } = await attempt(driver);
  const { elsewhere } = observer.seen();
  if (elsewhere > 0) return fail('followed a redirect');
  if (message !== null) return fail(`took a redirect for the answer "${message}"`);
  return pass(`302 is an error: ${reason}`);
}

/** Resets every pooled connection, so that the next request has to open a new one. */
async function dropConnections({ driver, observer }: AuditSubject): Promise<void> {
  for (let i = 0; i < 32 && observer.seen().connectionsOpen > 0; i++) {
    // More than one, for a client that tries again would end with a connection.
    observer.behave('reset', 'reset', 'reset', 'reset');
    await attempt(driver);
    await sleep(5);
  }
  observer.behave();
}

async function checkRetry(subject: AuditSubject): Promise<Finding> {
  const { driver, observer, reuse } = subject;
  const reused = 'a reset on a reused connection';
  const cases: [name: string, kind: BehaviourKind][] = [
    ['503', 'unavailable'],
    ['a reset on a new connection', 'reset'],
  ];
  if (reuse === 'shared') cases.push([reused, 'reset']);
  for (const [name, kind] of cases) {
    await dropConnections(subject);
    if (name === reused) await sequential(driver, 1);
    observer.reset();
    observer.behave(kind);
    const { message } = await attempt(driver);
    await sleep(50);
    const { requests } = observer.seen();
    if (requests > 1) return fail(`sent ${requests} times after ${name}`);
    if (message !== null) return fail(`${name} did not surface`);
  }
  return pass(`sent once after ${cases.map(([name]) => name).join(', ')}`);
}

/** One body in two parts and one of 200 KB; null when both were read, else what went wrong. */
async function readBodies({ driver, observer }: AuditSubject): Promise<string | null> {
  const delayMs = 60;
  observer.behave({ kind: 'slow-body', delayMs }, 'large');
  const begun = performance.now();
  const slow = await attempt(driver);
  const tookMs = performance.now() - begun;
  if (slow.message === null) return `a body in two parts is an error: ${slow.reason}`;
  if (!isMessage(slow.message)) return `a body in two parts became "${slow.message}"`;
  if (tookMs < delayMs - 5) return `answered ${tookMs.toFixed(0)} ms before the body was there`;
  const large = await attempt(driver);
  if (large.message !== largeMessage) return `a body of 200 KB was not read: ${large.reason}`;
  return (await sequential(driver, 1)) === 1 ? null : 'the request after a large body failed';
}

async function checkBody(subject: AuditSubject): Promise<Finding> {
  // The first time may open connections: some pools alternate between two.
  const first = await readBodies(subject);
  if (first !== null) return fail(first);
  subject.observer.reset();
  const second = await readBodies(subject);
  if (second !== null) return fail(second);
  const { connectionsOpened } = subject.observer.seen();
  if (subject.reuse === 'shared' && connectionsOpened > 0) {
    return fail('a connection could not be used again after its body was read');
  }
  return pass('a body in two parts and one of 200 KB are read to their end');
}

async function checkErrors({ driver, observer }: AuditSubject): Promise<Finding> {
  const kinds: BehaviourKind[] = [
    'reset-mid-body',
    'invalid-json',
    'truncated',
    'truncated-chunked',
    'unavailable',
  ];
  for (const kind of kinds) {
    observer.behave(kind);
    const { message } = await attempt(driver);
    if (message !== null) return fail(`${kind} became the answer "${message.slice(0, 40)}"`);
    if ((await sequential(driver, 1)) !== 1) return fail(`does not recover from ${kind}`);
  }
  return pass(`${kinds.join(', ')}: each is an error, and the next request works`);
}

async function checkTimeout(subject: AuditSubject): Promise<Finding> {
  const { observer, timeoutMs, hasty: driver = subject.driver } = subject;
  const kinds: BehaviourKind[] = ['stall', 'stall-mid-body'];
  observer.behave(...kinds);
  const limitMs = timeoutMs * 2 + 1000;
  const begun = performance.now();
  const abandoned = sleep(limitMs, null, { ref: false });
  const outcomes = await Promise.all(kinds.map(() => Promise.race([attempt(driver), abandoned])));
  const tookMs = performance.now() - begun;
  if (outcomes.includes(null)) return fail(`still waiting after ${limitMs} ms`);
  if (outcomes.some((outcome) => outcome?.message !== null)) return fail('answered without a body');
  if (tookMs < timeoutMs * 0.8) return fail(`gave up after ${tookMs.toFixed(0)} ms already`);
  return pass(`gives up ${(tookMs / timeoutMs).toFixed(1)} x timeoutMs after a stall`);
}

async function checkHead(subject: AuditSubject): Promise<Finding> {
  const { driver, observer, asked, reuse, protocol } = subject;
  observer.reset();
  if ((await sequential(driver, 1)) !== 1) return fail('the request failed');
  const head = observer.seen().lastHead;
  const value = (name: string) => new RegExp(`^${name}: *(.*)$`, 'im').exec(head)?.[1]?.trim();
  const lines = head.split('\r\n').length - (protocol === 'h2c' ? 0 : 1);
  const said = `${lines} headers, ${head.length + 4} bytes, accept-encoding: ${
    value('accept-encoding') ?? 'none'
  }, connection: ${value('connection') ?? 'none'}`;
  if (protocol === 'http/1.1' && !head.startsWith(`${asked.method} ${asked.path} HTTP/1.1\r\n`)) {
    return fail(`unexpected request line: ${head.split('\r\n')[0]}`);
  }
  if (reuse === 'shared' && value('connection')?.toLowerCase() === 'close') return fail(said);
  return pass(said);
}

async function checkRefused({ driver, observer }: AuditSubject): Promise<Finding> {
  await observer.close();
  const { message, reason } = await attempt(driver);
  if (message !== null) return fail('answered though nobody listens');
  return pass(`refused connection is an error: ${reason}`);
}

/** In running order; the last one closes the observer. */
export const CHECKS: readonly Check[] = [
  { name: 'request-head', run: checkHead },
  { name: 'pool-size', run: checkPoolSize },
  { name: 'keep-alive', run: checkKeepAlive },
  { name: 'no-pipelining', run: checkPipelining },
  { name: 'no-redirect', run: checkRedirect },
  { name: 'no-retry', run: checkRetry },
  { name: 'body-read', run: checkBody },
  { name: 'errors-surface', run: checkErrors },
  { name: 'timeout', run: checkTimeout },
  { name: 'refused', run: checkRefused },
];
