import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AuditResult, Entry } from '../results/types.ts';
import { auditEntries } from './audit.ts';

const entry = (contestant: string, runtime: Entry['runtime']): Entry => ({
  id: runtime === 'bun' ? `${contestant}@bun` : contestant,
  role: 'contestant',
  contestant,
  runtime,
  reuse: 'shared',
  protocol: 'http/1.1',
  version: '1',
  twinOf: null,
  note: '',
});
const entries = [entry('axios', 'node'), entry('got', 'node'), entry('bun-fetch', 'bun')];
const signal = new AbortController().signal;

const outcome = (id: string, verdict: AuditResult['verdict'], check = 'timeout'): AuditResult => ({
  entry: id,
  check,
  verdict,
  detail: '',
});

test('a client that was late in company and passes alone has passed', async () => {
  const calls: string[] = [];
  const { results, warnings } = await auditEntries(entries, signal, async ({ names, runtimes }) => {
    calls.push(`${runtimes} ${names}`);
    const alone = names?.length === 1;
    return (names ?? []).map((name) =>
      runtimes[0] === 'bun'
        ? outcome('bun-fetch@bun', 'fail', 'no-retry')
        : outcome(name, name === 'got' && !alone ? 'fail' : 'pass'),
    );
  });
  // The known failure of Bun's fetch is no reason to ask again.
  assert.deepEqual(calls, ['node axios,got', 'bun bun-fetch', 'node got']);
  const verdicts = Object.fromEntries(results.map((result) => [result.entry, result.verdict]));
  assert.deepEqual(verdicts, { axios: 'pass', got: 'pass', 'bun-fetch@bun': 'fail' });
  assert.deepEqual(warnings, []);
});

test('a client that fails alone too is shown as failing', async () => {
  const { results } = await auditEntries(entries, signal, async ({ names }) =>
    (names ?? []).map((name) => outcome(name, name === 'got' ? 'fail' : 'pass')),
  );
  assert.equal(results.find((result) => result.entry === 'got')?.verdict, 'fail');
});

test('an audit that cannot run is a warning that names who was not audited', async () => {
  const { results, warnings } = await auditEntries(entries, signal, async ({ runtimes, names }) => {
    if (runtimes[0] === 'bun') throw new Error('no Bun');
    return (names ?? []).map((name) => outcome(name, 'pass'));
  });
  assert.deepEqual(results.map((result) => result.entry).sort(), ['axios', 'got']);
  assert.match(warnings.join(), /on bun failed: no Bun; not audited: bun-fetch@bun/);
});
