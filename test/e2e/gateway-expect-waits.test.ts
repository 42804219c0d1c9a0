/**
 * `Expect: 100-continue` of a caller that does not wait for the word, and upstreams that refuse it: the
 * body comes while the request stands in line, between two attempts, or before a 417. In simulated time,
 * for all of it is a matter of which of two things comes first.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ok, type RawPeer, type RawServerHooks } from '../support/raw-server.ts';
import { simple, upstreamOf } from './gateway-rig.ts';
import { type SimClient, type SimRig, withSimGateway } from './gateway-sim.ts';
import { parseResponses } from './raw-client.ts';

const asked = 'HTTP/1.1 100 Continue\r\n\r\n';
const unknown = 'HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno';
const busy = 'HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n';
const closing = (answer: string): string =>
  answer.replace('Content-Length', 'Connection: close\r\nContent-Length');
/** Longer than any test: what comes, comes because it was told to. */
const patient = { expectWait: '60s' };
const small = 'hello';
const long = 'x'.repeat(100_000);

const bodies: Record<string, { field: string; body: string; sent: string }> = {
  'a small body': { field: `Content-Length: ${small.length}`, body: small, sent: small },
  'a long body': { field: `Content-Length: ${long.length}`, body: long, sent: long },
  'a chunked body': {
    field: 'Transfer-Encoding: chunked',
    body: long,
    sent: `${long.length.toString(16)}\r\n${long}\r\n0\r\n\r\n`,
  },
};

const headOf = (field: string, method = 'POST'): string =>
  `${method} / HTTP/1.1\r\nHost: t\r\n${field}\r\nExpect: 100-continue\r\n\r\n`;
const expects = (head: string): boolean => /^expect: 100-continue$/im.test(head);
const get = 'GET / HTTP/1.1\r\nHost: t\r\n\r\n';

/** Answers the head as told, and a whole request with what it held. */
const server = (onHead: (peer: RawPeer, head: string) => void): RawServerHooks => ({
  onHead,
  onRequest: (peer, request) => peer.send(ok(`got ${request.body.length}`)),
});
const willing = server((peer, head) => {
  if (expects(head)) peer.send(asked);
});

const final = (client: SimClient) =>
  parseResponses(client.text).find(({ status }) => status >= 200) ?? null;
async function answered(rig: SimRig, client: SimClient): Promise<string> {
  const isThere = (): boolean => final(client)?.complete === true;
  assert.ok(await rig.until(isThere, 5000), `no answer, but: ${client.text}`);
  const { status, body } = final(client)!;
  return `${status} ${body}`;
}

for (const [what, { field, body, sent }] of Object.entries(bodies)) {
  test(`${what} that came while its request stood in line made it wait for ever`, async () => {
    let held: RawPeer | null = null;
    const holding: RawServerHooks = {
      onRequest(peer) {
        held = peer;
      },
    };
    const limits = { pending: 1, queue: 10, queueWait: 300 };
    const input = (ports: number[]) => simple(ports, { ...patient, limits });
    await withSimGateway([holding], input, async (rig) => {
      const first = rig.open();
      first.send(get);
      assert.ok(await rig.until(() => held !== null));
      const { queue } = upstreamOf(rig);
      const client = rig.open();
      client.send(headOf(field));
      assert.ok(await rig.until(() => queue.length === 1));
      client.send(sent);
      assert.match(await answered(rig, client), /^503 .*QUEUE_TIMEOUT/);
      assert.equal(queue.length, 0);
      held!.send(ok('first'));
      assert.equal(await answered(rig, first), '200 first');
    });
  });

  for (const [how, begin] of Object.entries({
    died: (peer: RawPeer) => peer.reset(),
    'was busy': (peer: RawPeer) => peer.send(busy),
    'was busy and closed': (peer: RawPeer) => peer.send(closing(busy)),
  })) {
    test(`${what} that came in the pause after a target ${how} left its caller without an answer`, async () => {
      let heads = 0;
      const first = server((peer) => {
        heads++;
        begin(peer);
      });
      const upstream = { ...patient, balance: 'round-robin', retry: { backoff: 1000 } };
      await withSimGateway(
        [first, willing],
        (ports) => simple(ports, upstream),
        async (rig) => {
          Object.defineProperty(rig.gateway, 'random', { value: () => 1 });
          const up = upstreamOf(rig);
          const client = rig.open();
          client.send(headOf(field, 'PUT'));
          assert.ok(await rig.until(() => heads === 1 && up.members[0]!.pending === 0));
          client.send(sent);
          await rig.pause(100);
          assert.equal(rig.servers[1]!.peers.length, 0, 'there was no pause');
          assert.equal(await answered(rig, client), `200 got ${body.length}`);
          assert.equal(rig.servers[1]!.requests[0]!.body, body);
          assert.ok(await rig.until(() => up.pending === 0));
        },
      );
    });
  }

  test(`${what} was not offered to another target when the busy one closed its connection`, async () => {
    const first = server((peer) => peer.sendLast(closing(busy)));
    const upstream = { ...patient, balance: 'round-robin', retry: { backoff: 0 } };
    await withSimGateway(
      [first, willing],
      (ports) => simple(ports, upstream),
      async (rig) => {
        const client = rig.open();
        client.send(headOf(field));
        assert.ok(await rig.until(() => client.text !== ''));
        assert.equal(client.text, asked);
        client.send(sent);
        assert.equal(await answered(rig, client), `200 got ${body.length}`);
        assert.equal(rig.servers[1]!.requests[0]!.body, body);
      },
    );
  });

  test(`${what} was refused with 417 when the gateway had asked for it before the upstream said so`, async () => {
    for (const answer of [unknown, closing(unknown)]) {
      const heads: string[] = [];
      let later: (run: () => void) => void = () => {};
      const hooks = server((peer, head) => {
        heads.push(head);
        if (expects(head)) later(() => peer.send(answer));
      });
      const input = (ports: number[]) => simple(ports, { expectWait: 20 });
      await withSimGateway([hooks], input, async (rig) => {
        later = (run) => void rig.clock.setTimer(run, 100);
        const client = rig.open();
        client.send(headOf(field));
        assert.ok(await rig.until(() => heads.length === 2));
        assert.equal(client.text, asked);
        client.send(sent);
        assert.equal(await answered(rig, client), `200 got ${body.length}`);
        assert.deepEqual(heads.map(expects), [true, false]);
        assert.equal(rig.servers[0]!.requests.at(-1)!.body, body);
      });
    }
  });

  const isKept = body === small;
  test(`417 to ${what} that is ${isKept ? 'here already was the last word' : 'on its way is the last word'}`, async () => {
    for (const answer of [unknown, closing(unknown)]) {
      const heads: string[] = [];
      let later: (run: () => void) => void = () => {};
      const hooks: RawServerHooks = {
        onHead(peer, head) {
          heads.push(head);
          if (expects(head)) later(() => peer.send(answer));
          else peer.note = 'knows nothing of it';
        },
        onRequest(peer, request) {
          if (peer.note !== '') peer.send(ok(`got ${request.body.length}`));
        },
      };
      const input = (ports: number[]) => simple(ports, patient);
      await withSimGateway([hooks], input, async (rig) => {
        later = (run) => void rig.clock.setTimer(run, 20);
        const client = rig.open();
        client.send(headOf(field));
        await rig.pause(3);
        client.send(sent);
        assert.equal(await answered(rig, client), isKept ? `200 got ${body.length}` : '417 no');
        assert.deepEqual(heads.map(expects), isKept ? [true, false] : [true]);
      });
    }
  });
}

test('417 of an upstream that had met the expectation is an answer like any other', async () => {
  let heads = 0;
  const hooks: RawServerHooks = {
    onHead(peer) {
      heads++;
      peer.send(asked);
    },
    onRequest: (peer) => peer.send(unknown),
  };
  const input = (ports: number[]) => simple(ports, patient);
  await withSimGateway([hooks], input, async (rig) => {
    const client = rig.open();
    client.send(headOf(`Content-Length: ${small.length}`));
    assert.ok(await rig.until(() => client.text === asked));
    client.send(small);
    assert.equal(await answered(rig, client), '417 no');
    assert.equal(heads, 1);
  });
});

test('417 to the probe of a half-open breaker let a second one through, and the first did not count', async () => {
  let isBroken = true;
  const held: RawPeer[] = [];
  const hooks: RawServerHooks = {
    onHead(peer, head) {
      if (expects(head)) peer.send(unknown);
    },
    onRequest(peer) {
      if (isBroken) peer.send('HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n');
      else held.push(peer);
    },
  };
  const breaker = { minRequests: 2, errorShare: 0.5, window: 5000, openFor: 100 };
  const input = (ports: number[]) =>
    simple(ports, { ...patient, breaker, health: { ejectAfter: 100 } });
  await withSimGateway([hooks], input, async (rig) => {
    for (let i = 0; i < 2; i++) assert.equal((await rig.ask(get)).status, 500);
    const code = async () => (await rig.ask(get)).fields.get('x-onehop-error');
    assert.equal(await code(), 'BREAKER_OPEN');
    isBroken = false;
    await rig.pause(130);
    const probe = rig.open();
    probe.send(headOf(`Content-Length: ${small.length}`));
    assert.ok(await rig.until(() => probe.text === asked));
    const second = rig.open();
    second.send(get);
    await rig.until(() => second.text !== '', 1000);
    assert.match(second.text, /BREAKER_OPEN/, 'two probes at once');
    probe.send(small);
    assert.ok(await rig.until(() => held.length === 1));
    held[0]!.send(ok('fine'));
    assert.equal(await answered(rig, probe), '200 fine');
    const next = rig.open();
    next.send(get);
    assert.ok(await rig.until(() => held.length === 2, 1000), 'the breaker is not closed');
    held[1]!.send(ok('fine'));
    assert.equal(await answered(rig, next), '200 fine');
  });
});
