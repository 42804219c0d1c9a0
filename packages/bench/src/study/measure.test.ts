import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import type { Entry } from '../results/types.ts';
import { checkAnswer, isSlow } from './measure.ts';

const direct: Entry = {
  id: 'direct',
  role: 'direct',
  contestant: 'direct',
  runtime: 'node',
  reuse: 'shared',
  protocol: 'http/1.1',
  version: '1',
  twinOf: null,
  note: '',
};

/** Asks a server whose first answers take so long; the rest comes at once. */
async function ask(delaysMs: readonly number[]): Promise<{ answerMs: number; asked: number }> {
  let asked = 0;
  const server = createServer((_request, response) => {
    const body = '{"message":"8c1b2b3e-6a5c-4a3e-9a0e-1234567890ab"}';
    setTimeout(() => response.end(body), delaysMs[asked++] ?? 0);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    return { answerMs: await checkAnswer(direct, 'message', url, 0), asked };
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

test('a request that had to wait does not make a client slow', async () => {
  const { answerMs, asked } = await ask([0, 2000, 2000]);
  assert.ok(answerMs < 2000, `${answerMs} ms`);
  assert.ok(asked >= 4);
});

test('a client that is slow each time is asked a few times only', async () => {
  const { answerMs, asked } = await ask([0, 60, 60, 60, 60, 60]);
  assert.ok(isSlow(answerMs, 0), `${answerMs} ms`);
  assert.equal(asked, 5);
});
