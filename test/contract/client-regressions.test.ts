/** Faults of the client that were found by reading it; each test is named after what went wrong. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Client, type ExchangeHandler, noFields, type Origin } from 'onehop/client';
import type { OnehopError } from 'onehop/core';
import { transport } from 'onehop/transport';
import { chunked, ok } from '../support/raw-server.ts';
import { ClientFixture } from './client-rig.ts';

describe(`client regressions on ${transport.name}`, () => {
  test('a body longer than bodyBytesMax was handed out if it had come with the head', async () => {
    const fixture = new ClientFixture(transport, (peer, request) =>
      peer.send(request.target === '/chunked' ? chunked(['x'.repeat(100)]) : ok('x'.repeat(100))),
    );
    await fixture.open();
    const client = new Client({ bodyBytesMax: 99 });
    try {
      for (const target of ['/length', '/chunked']) {
        const response = await client.get(`http://127.0.0.1:${fixture.server.port}${target}`);
        await fixture.pause(20); // by now all of it is here
        await assert.rejects(response.text(), { code: 'RESPONSE_TOO_LARGE' }, target);
      }
    } finally {
      client.destroy();
      await fixture.close();
    }
  });

  test('a tunnel was not told that the client was destroyed', async () => {
    const fixture = new ClientFixture(transport, (peer) =>
      peer.send('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n'),
    );
    await fixture.open();
    let closes = 0;
    let open = false;
    const handler: ExchangeHandler = {
      onHead() {},
      onBody() {},
      onEnd() {},
      onError() {},
      onUpgrade(_exchange, _head, tunnel) {
        open = true;
        tunnel.handler = {
          onData() {},
          onEnd() {},
          onClose() {
            closes++;
          },
        };
      },
    };
    fixture.origin.dispatch(
      { method: 'GET', target: '/', fields: noFields, body: null, upgrade: 'x' },
      handler,
    );
    await fixture.until(() => open);
    fixture.origin.destroy();
    await fixture.until(() => closes === 1);
    await fixture.close();
    assert.equal(closes, 1);
  });

  test('errors of a deadline, an abort, a full queue and a closed client named no phase', async () => {
    const fixture = new ClientFixture(transport, () => {});
    await fixture.open({ connectionsMax: 1, queueLengthMax: 1, timeouts: { headTimeoutMs: 30 } });
    const check = (error: OnehopError | null, code: string, phase: string): void => {
      const origin: Origin = fixture.origin;
      assert.deepEqual([error?.code, error?.phase, error?.upstream], [code, phase, origin.name]);
    };
    const late = fixture.send();
    await fixture.until(() => fixture.server.requests.length === 1);
    const queued = fixture.send();
    check(fixture.send().error, 'QUEUE_FULL', 'queue');
    queued.exchange.abort();
    check(queued.error, 'ABORTED', 'queue');
    await fixture.until(() => late.over);
    check(late.error, 'HEAD_TIMEOUT', 'head');
    fixture.origin.destroy();
    check(fixture.send().error, 'CLIENT_CLOSED', 'close');
    await fixture.close();
  });

  test('a handler that threw ended the process, and other exchanges never ended', async () => {
    const fixture = new ClientFixture(transport, (peer, request) => peer.send(ok(request.target)));
    await fixture.open({ connectionsMax: 1 });
    const expected = new Error('expected in this test');
    for (const where of ['onHead', 'onBody', 'onEnd', 'onDrain'] as const) {
      const ends: string[] = [];
      const fail = (callback: string): void => {
        if (callback === where) throw expected;
      };
      const throwing: ExchangeHandler = {
        onHead: () => fail('onHead'),
        onBody: () => fail('onBody'),
        onDrain(exchange) {
          fail('onDrain');
          exchange.endBody();
        },
        onEnd() {
          ends.push('end');
          fail('onEnd');
        },
        onError: (_exchange, error) => void ends.push(error.code, String(error.cause === expected)),
      };
      const print = console.error;
      let printed = 0;
      console.error = () => void printed++;
      try {
        // Behind another one, whose end is what starts it.
        const before = fixture.send({ target: '/before' });
        fixture.origin.dispatch(
          { method: 'PUT', target: '/x', fields: noFields, body: { length: 0 } },
          throwing,
        );
        const after = fixture.send({ target: '/after' });
        await fixture.until(() => before.over && after.over && ends.length > 0);
        assert.deepEqual([before.body, after.body], ['/before', '/after'], where);
      } finally {
        console.error = print;
      }
      assert.deepEqual(ends, where === 'onEnd' ? ['end'] : ['INTERNAL', 'true'], where);
      assert.equal(printed, where === 'onEnd' ? 1 : 0, where);
    }
    await fixture.close();
  });
});
