import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type MeasureOptions, measure, type Subject, WindowMark } from './measure.ts';
import { paddedJson } from './payload.ts';
import { endOf, startProgram } from './peers.ts';
import { canMeasure } from './process-stats.ts';
import type { Cell } from './types.ts';

const cell: Cell = { id: 'a', bars: [], kind: 'closed', path: '/50', connections: 4 };
const options: MeasureOptions = {
  group: 'g',
  round: 3,
  upstream: '',
  pace: { warmupMs: 50, windowMs: 300 },
  ratePerS: null,
  signal: new AbortController().signal,
};

/** Answers as it should, and ends itself at its n-th request. */
const mortal = (last: number): string => `
  let n = 0;
  const server = require('node:http').createServer((_, response) => {
    if (++n >= ${last}) process.kill(process.pid, 'SIGKILL');
    response.end(${JSON.stringify(paddedJson(50))});
  });
  server.listen(0, '127.0.0.1', () => console.log(server.address().port));
  process.stdin.on('end', () => process.exit(0)).resume();`;

test('a forwarder that dies in its window or before proves nothing and does not end the bench', {
  skip: canMeasure() ? false : 'needs /proc',
}, async () => {
  const mark = new WindowMark();
  await mark.open();
  const program = await startProgram([process.execPath, '-e', mortal(30)]);
  try {
    const subject: Subject = {
      forwarder: 'onehop-node@old',
      origin: `http://127.0.0.1:${program.line}`,
      pid: program.child.pid!,
      isOther: true,
      ended: endOf(program.child),
    };
    const during = await measure(cell, subject, mark, options);
    assert.deepEqual(during.invalid, ['it ended with SIGKILL']);
    assert.equal(during.cpuUs, null);
    const after = await measure({ ...cell, id: 'b' }, subject, mark, options);
    assert.deepEqual(after.invalid, ['it ended with SIGKILL before']);
    assert.deepEqual([after.cell, after.round, after.forwarder], ['b', 3, 'onehop-node@old']);
  } finally {
    await program.stop();
    mark.close();
  }
});
