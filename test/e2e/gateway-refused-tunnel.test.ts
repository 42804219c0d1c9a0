/**
 * A caller that was refused a tunnel may have sent bytes for it already: they are nobody's request.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ok, type RawServer } from '../support/raw-server.ts';
import { type Rig, simple, withGateway, withServers } from './gateway-rig.ts';
import { parseResponses, RawClient } from './raw-client.ts';

/** What an attacker would like the upstream to read. */
const smuggled = 'GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n';
const offer = (protocol: string, path = '/', more = ''): string =>
  `GET ${path} HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: ${protocol}\r\n${more}\r\n`;
const connectRequest = 'CONNECT t:443 HTTP/1.1\r\nHost: t:443\r\n\r\n';

/** Runs `body` against an upstream that ignores what is offered. */
async function run(
  body: (rig: Rig, up: RawServer, client: RawClient) => Promise<void>,
): Promise<void> {
  await withServers([(peer, { target }) => peer.send(ok(`for ${target}`))], async ([up], ports) => {
    await withGateway(simple(ports), async (rig) => {
      const client = await RawClient.open(rig.port);
      try {
        await body(rig, up!, client);
      } finally {
        client.close();
      }
    });
  });
}

const targets = (up: RawServer): string[] => up.requests.map(({ target }) => target);

/** One answer, which says close, and the end. */
async function assertClosed(client: RawClient, status: number): Promise<void> {
  assert.ok(await client.untilEnd(), `not closed: ${client.text}`);
  const responses = parseResponses(client.text);
  assert.deepEqual(
    responses.map((response) => response.status),
    [status],
  );
  const fields = new Map(responses[0]!.fields);
  assert.equal(fields.get('connection'), 'close');
}

/** A request behind all others, on a connection of its own, so that what came before is through. */
async function assertNothingElse(rig: Rig, up: RawServer, wanted: string[]): Promise<void> {
  const other = await RawClient.open(rig.port);
  other.send('GET /last HTTP/1.1\r\nHost: t\r\n\r\n');
  assert.ok(await other.untilText('for /last'));
  other.close();
  assert.deepEqual(targets(up), [...wanted, '/last']);
}

const orders = {
  'with the head': async (client: RawClient, head: string) => client.send(head + smuggled),
  'behind the head': async (client: RawClient, head: string) => {
    client.send(head);
    client.send(smuggled);
  },
  'behind the answer': async (client: RawClient, head: string) => {
    client.send(head);
    await client.untilText('\r\n\r\n');
    client.send(smuggled);
  },
};

for (const [order, send] of Object.entries(orders)) {
  test(`bytes for a tunnel that CONNECT was refused reached the upstream as a request (${order})`, async () => {
    await run(async (rig, up, client) => {
      await send(client, connectRequest);
      await assertClosed(client, 405);
      await assertNothingElse(rig, up, []);
    });
  });

  for (const protocol of ['connect-udp', 'x', 'websocket, x']) {
    test(`bytes for an upgrade to ${protocol} that the upstream ignored reached it as a request (${order})`, async () => {
      await run(async (rig, up, client) => {
        await send(client, offer(protocol));
        await assertClosed(client, 200);
        await assertNothingElse(rig, up, ['/']);
      });
    });

    test(`bytes for an upgrade to ${protocol} with a body reached the upstream as a request (${order})`, async () => {
      await run(async (rig, up, client) => {
        await send(client, `${offer(protocol, '/', 'Content-Length: 4\r\n')}body`);
        await assertClosed(client, 200);
        await assertNothingElse(rig, up, ['/']);
      });
    });
  }
}

test('an ignored offer of HTTP/2 costs nobody the connection', async () => {
  await run(async (_, up, client) => {
    for (const count of [1, 2, 3]) {
      client.send(offer('h2c', `/${count}`, 'HTTP2-Settings: AAMAAABkAAQAAP__\r\n'));
      assert.ok(await client.untilText(`for /${count}`));
    }
    assert.doesNotMatch(client.text, /connection: close/i);
    assert.deepEqual(targets(up), ['/1', '/2', '/3']);
  });
});

for (const protocol of ['websocket', 'h2c']) {
  test(`what follows an ignored offer of ${protocol} is HTTP, for the sender may not send anything else`, async () => {
    await run(async (_, up, client) => {
      client.send(`${offer(protocol)}GET /next HTTP/1.1\r\nHost: t\r\n\r\n`);
      assert.ok(await client.untilText('for /next'));
      assert.deepEqual(targets(up), ['/', '/next']);
    });
  });
}

// What may follow a refusal: requests, where the framing says without doubt where they begin.
const bodied = 'Content-Length: 39\r\n\r\nGET /body HTTP/1.1\r\nHost: t\r\nX: 1\r\n\r\n\r\n';
const refusals: Record<string, { request: string; status: number; closes: boolean }> = {
  'TRACE without a body': {
    request: 'TRACE / HTTP/1.1\r\nHost: t\r\n\r\n',
    status: 405,
    closes: false,
  },
  'TRACE with a body': {
    request: `TRACE / HTTP/1.1\r\nHost: t\r\n${bodied}`,
    status: 405,
    closes: false,
  },
  'an unknown route with a body': {
    request: `POST /elsewhere HTTP/1.1\r\nHost: t\r\n${bodied}`,
    status: 404,
    closes: false,
  },
  'an unknown route with chunks': {
    request: `POST /elsewhere HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n${smuggled.length.toString(16)}\r\n${smuggled}\r\n0\r\n\r\n`,
    status: 404,
    closes: true,
  },
  'OPTIONS * with a body': {
    request: `OPTIONS * HTTP/1.1\r\nHost: t\r\n${bodied}`,
    status: 204,
    closes: false,
  },
  'another expectation': {
    request: `POST /here/x HTTP/1.1\r\nHost: t\r\nExpect: more\r\n${bodied}`,
    status: 417,
    closes: true,
  },
  '100-continue for a body that is refused': {
    request: `POST /elsewhere HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: ${smuggled.length}\r\n\r\n`,
    status: 404,
    closes: true,
  },
};
assert.equal(bodied.split('\r\n\r\n').slice(1).join('\r\n\r\n').length, 39);

for (const [what, { request, status, closes }] of Object.entries(refusals)) {
  test(`the body of a refused request is never a request: ${what}`, async () => {
    await withServers(
      [(peer, { target }) => peer.send(ok(`for ${target}`))],
      async ([up], ports) => {
        await withGateway(simple(ports, {}, { route: { path: '/here/*' } }), async (rig) => {
          const client = await RawClient.open(rig.port);
          client.send(request);
          if (closes) {
            assert.ok(await client.untilText('\r\n\r\n'));
            client.send('GET /here/next HTTP/1.1\r\nHost: t\r\n\r\n');
            assert.ok(await client.untilEnd());
            assert.deepEqual(targets(up!), []);
          } else {
            client.send('GET /here/next HTTP/1.1\r\nHost: t\r\n\r\n');
            assert.ok(await client.untilText('for /here/next'));
            assert.deepEqual(targets(up!), ['/here/next']);
          }
          assert.equal(parseResponses(client.text)[0]!.status, status);
          client.close();
        });
      },
    );
  });
}
