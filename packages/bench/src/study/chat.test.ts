import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { readResults } from '../results/index.ts';
import { checkOptions, readOptions } from './options.ts';

const require = createRequire(import.meta.url);
const cli = join(dirname(require.resolve('onehop/package.json')), 'bin', 'onehop.js');
const scratch = mkdtempSync(join(tmpdir(), 'onehop-chat-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

test('the chat case places all of its clients and has no Python peers', () => {
  const options = readOptions({ case: 'chat' }, true);
  assert.deepEqual([options.clients, options.python], [['all'], 'off']);
  assert.equal(readOptions({}, true).case, 'message');
  assert.throws(() => readOptions({ case: 'other' }, true), /--case takes message or chat/);
  const oha = readOptions({ case: 'chat', generator: 'oha', openLoop: 'off' }, true);
  assert.throws(() => checkOptions(oha), /--case chat works with/);
});

test('a study of chats measures the SDK, audited, beside bare clients and both controls', async () => {
  const out = join(scratch, 'chat');
  const words = [
    ...['--case', 'chat', '--clients', 'openai,openai-onehop,chat-onehop', '--reuse', 'shared'],
    ...['--runtime', 'node', '-n', '60', '-c', '2', '--latency', '0', '--open-loop', 'off'],
    ...['--warmup', '30ms', '--seed', '11', '--rounds', '1', '--out', out],
  ];
  const child = spawn(process.execPath, [cli, 'bench', 'study', ...words], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let err = '';
  child.stderr.on('data', (chunk: Buffer) => {
    err += chunk.toString('utf8');
  });
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  // So small a run may breach a gate, which is told by 3 or 4; it must not fail.
  assert.ok([0, 3, 4].includes(code ?? -1), `exit ${code}: ${err}`);
  const results = readResults(join(out, 'results.json'));
  assert.equal(results.complete, true);
  const measured = results.measurements.map(({ entry, completed, valid }) => {
    assert.equal(completed, 60, entry);
    assert.equal(valid, 60, entry);
    return entry;
  });
  assert.deepEqual(
    measured.sort(),
    [
      'chat-onehop',
      'direct',
      'null-forwarder',
      'openai',
      'openai-onehop',
      ...results.entries.filter(({ role }) => role === 'twin').map(({ id }) => id),
    ].sort(),
  );
  const audited = results.audit.filter(({ entry }) => entry.startsWith('openai'));
  assert.ok(audited.length >= 20, `${audited.length}`);
  assert.deepEqual(
    audited.filter(({ verdict }) => verdict === 'fail'),
    [],
  );
});
