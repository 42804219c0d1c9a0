import assert from 'node:assert/strict';
import { Agent, get } from 'node:http';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ReuseMode } from '../contestants/index.ts';
import {
  chatContestantNames,
  contestantNames,
  currentRuntime,
  entryId,
} from '../contestants/index.ts';
import type { AuditResult } from '../results/types.ts';
import { messageCase } from './behaviours.ts';
import { CHECKS } from './checks.ts';
import { KNOWN_FAILURES, runAudit } from './index.ts';
import { startObserver } from './observer.ts';
import { auditSubject } from './run.ts';

const isKnown = (result: AuditResult) =>
  KNOWN_FAILURES.some(({ entry, check }) => entry === result.entry && check === result.check);

test('every adapter of this runtime passes the fairness audit, but for the known failures', async () => {
  const runtime = currentRuntime();
  const results = await runAudit({ runtimes: [runtime] });
  const unexpected = results.filter((result) => result.verdict === 'fail' && !isKnown(result));
  assert.deepEqual(unexpected, []);
  for (const name of [...contestantNames(runtime), ...chatContestantNames(runtime)]) {
    const own = results.filter(({ entry }) => entry === entryId(name, runtime, 'shared'));
    assert.deepEqual(
      own.map(({ check }) => check),
      CHECKS.map(({ name: check }) => check),
      name,
    );
    assert.ok(own.filter(({ verdict }) => verdict === 'pass').length >= 8, `${name} is judged`);
  }
});

test('a known failure still fails, else it is struck off', async () => {
  const own = KNOWN_FAILURES.filter(
    ({ entry }) => entry.includes('@bun') === (currentRuntime() === 'bun'),
  );
  if (own.length === 0) return;
  const names = own.map(({ entry }) => entry.replace(/@bun|\.per-request/g, ''));
  const results = await runAudit({ runtimes: [currentRuntime()], names });
  for (const { entry, check, reason } of own) {
    const result = results.find((each) => each.entry === entry && each.check === check);
    assert.equal(result?.verdict, 'fail', `${entry} ${check}`);
    assert.ok(result.detail.includes(reason));
  }
});

interface Unfairness {
  agent: Agent;
  follow?: boolean;
  retry?: boolean;
  lenient?: boolean;
  timeoutMs?: number | null;
  early?: boolean;
}

/** A client on node:http that plays foul in one way. */
function foulGet(url: string, how: Unfairness): Promise<string> {
  return new Promise((resolve, reject) => {
    const again = (to: string) => {
      const next = foulGet(to, { ...how, retry: false, follow: false });
      next.catch(() => {}); // an error may be told twice: only the first promise is waited for
      resolve(next);
    };
    const failed = (error: Error) => (how.retry ? again(url) : reject(error));
    const timeoutMs = how.timeoutMs === undefined ? 300 : how.timeoutMs;
    const signal = timeoutMs === null ? {} : { signal: AbortSignal.timeout(timeoutMs) };
    const request = get(url, { agent: how.agent, ...signal }, (response) => {
      let text = '';
      response.on('data', (chunk) => {
        text += chunk;
        if (how.early) resolve('m-1');
      });
      response.on('error', (error) => (how.lenient ? resolve('m-1') : failed(error)));
      response.on('end', () => {
        const location = response.headers.location;
        if (how.follow && location !== undefined) return again(new URL(location, url).href);
        if (response.statusCode !== 200) return failed(new Error(`status ${response.statusCode}`));
        try {
          resolve(JSON.parse(text).message);
        } catch (error) {
          if (how.lenient) resolve(text);
          else reject(error);
        }
      });
    });
    request.on('error', failed);
  });
}

const pooled = () => new Agent({ keepAlive: true, maxSockets: 4 });
const foul: [name: string, reuse: ReuseMode, failing: string, make: () => Unfairness][] = [
  ['unlimited sockets', 'shared', 'pool-size', () => ({ agent: new Agent({ keepAlive: true }) })],
  [
    'one socket only',
    'shared',
    'pool-size',
    () => ({ agent: new Agent({ keepAlive: true, maxSockets: 1 }) }),
  ],
  ['no keep-alive', 'shared', 'keep-alive', () => ({ agent: new Agent({ maxSockets: 4 }) })],
  ['a pool that outlives its request', 'per-request', 'keep-alive', () => ({ agent: pooled() })],
  ['redirects followed', 'shared', 'no-redirect', () => ({ agent: pooled(), follow: true })],
  ['failures sent again', 'shared', 'no-retry', () => ({ agent: pooled(), retry: true })],
  ['body not awaited', 'shared', 'body-read', () => ({ agent: pooled(), early: true })],
  ['errors swallowed', 'shared', 'errors-surface', () => ({ agent: pooled(), lenient: true })],
  ['no timeout', 'shared', 'timeout', () => ({ agent: pooled(), timeoutMs: null })],
];

for (const [name, reuse, failing, make] of foul) {
  test(`the audit catches a client with ${name}`, async () => {
    const observer = await startObserver();
    const how = make();
    const driver = { getMessage: () => foulGet(`${observer.baseUrl}request_response/`, how) };
    const results = await auditSubject('foul', {
      driver,
      observer,
      asked: messageCase,
      reuse,
      protocol: 'http/1.1',
      connectionsMax: 4,
      timeoutMs: 300,
    });
    how.agent.destroy();
    const found = results.find(({ check }) => check === failing);
    assert.equal(found?.verdict, 'fail', JSON.stringify(results));
    await sleep(0);
  });
}

test('the audit catches pipelining', async () => {
  const observer = await startObserver();
  const { connect } = await import('node:net');
  const socket = connect(Number(new URL(observer.baseUrl).port), '127.0.0.1');
  const head = 'GET /request_response/ HTTP/1.1\r\nhost: x\r\n\r\n';
  observer.behave({ kind: 'answer', delayMs: 20 });
  socket.write(head + head);
  for (let i = 0; i < 1000 && observer.seen().pipelined === 0; i++) await sleep(10);
  assert.equal(observer.seen().pipelined, 1);
  socket.destroy();
  await observer.close();
});
