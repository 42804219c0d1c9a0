/**
 * `Expect: 100-continue` through the gateway: the upstream answers it, so that a refusal costs no upload
 * (RFC 9110 section 10.1.1), and whoever cannot or does not answer costs a bounded wait.
 */
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { ok, type RawPeer, type RawServer, type RawServerHooks } from '../support/raw-server.ts';
import { type Rig, simple, until, upstreamOf, withGateway, withServers } from './gateway-rig.ts';
import { parseResponses, RawClient } from './raw-client.ts';

const asked = 'HTTP/1.1 100 Continue\r\n\r\n';
const denied = 'HTTP/1.1 401 Unauthorized\r\nContent-Length: 4\r\n\r\nnope';
/** Longer than any test: what comes, comes because it was told to. */
const patient = { expectWait: '60s' };
const small = 'hello';
const long = 'x'.repeat(300_000);

const bodies: Record<string, { field: string; body: string; sent: string }> = {
  'a small body': { field: `Content-Length: ${small.length}`, body: small, sent: small },
  'a long body': { field: `Content-Length: ${long.length}`, body: long, sent: long },
  'a chunked body': {
    field: 'Transfer-Encoding: chunked',
    body: long,
    sent: `${long.length.toString(16)}\r\n${long}\r\n0\r\n\r\n`,
  },
};

const headOf = (field: string, line = 'POST / HTTP/1.1'): string =>
  `${line}\r\nHost: t\r\n${field}\r\nExpect: 100-continue\r\n\r\n`;

/** Answers the head as told, and a whole request with what it held. */
const server = (onHead: (peer: RawPeer, head: string) => void): RawServerHooks => ({
  onHead,
  onRequest: (peer, request) => peer.send(ok(`got ${request.body.length}`)),
});
const expects = (head: string): boolean => /^expect: 100-continue$/im.test(head);

async function withUpstream(
  hooks: RawServerHooks,
  upstream: Record<string, unknown>,
  body: (rig: Rig, upstream: RawServer, client: RawClient) => Promise<void>,
): Promise<void> {
  await withServers([hooks], async ([up], ports) => {
    await withGateway(simple(ports, upstream), async (rig) => {
      const client = await RawClient.open(rig.port);
      try {
        await body(rig, up!, client);
      } finally {
        client.close();
      }
    });
  });
}

const final = (client: RawClient) =>
  parseResponses(client.text).find(({ status }) => status >= 200) ?? null;
const answered = async (client: RawClient): Promise<string> => {
  assert.ok(await client.until(() => final(client)?.complete === true), client.text);
  const { status, body } = final(client)!;
  return `${status} ${body}`;
};
const timesAsked = (client: RawClient): number => client.text.split(asked).length - 1;

for (const [what, { field, body, sent }] of Object.entries(bodies)) {
  test(`${what} was uploaded before the upstream could refuse it: 100 came from the gateway`, async () => {
    const heads: string[] = [];
    const hooks = server((peer, head) => {
      heads.push(head);
      peer.send(denied);
    });
    await withUpstream(hooks, patient, async (rig, up, client) => {
      client.send(headOf(field));
      assert.equal(await answered(client), '401 nope');
      assert.equal(timesAsked(client), 0);
      assert.equal(expects(heads[0]!), true);
      // Whether the caller's next bytes are the body or a request cannot be told.
      assert.match(client.text, /^connection: close\r$/im);
      assert.ok(await client.untilEnd());
      // Nor can it upstream: the body it was promised never came.
      assert.ok(await until(() => up.openPeers === 0));
      assert.equal(up.peers[0]!.received.split('\r\n\r\n')[1], '');
      assert.equal(upstreamOf(rig).pending, 0);
    });
  });

  test(`${what} goes on its way when the upstream asks for it`, async () => {
    const heads: string[] = [];
    const hooks = server((peer, head) => {
      heads.push(head);
      peer.send(asked);
    });
    await withUpstream(hooks, patient, async (_, up, client) => {
      client.send(headOf(field));
      assert.ok(await client.untilText(asked));
      client.send(sent);
      assert.equal(await answered(client), `200 got ${body.length}`);
      assert.equal(timesAsked(client), 1);
      assert.equal(up.requests[0]!.body, body);
      // Both connections go on.
      client.received = Buffer.alloc(0);
      client.send(headOf(field));
      assert.ok(await client.untilText(asked));
      client.send(sent);
      assert.equal(await answered(client), `200 got ${body.length}`);
      assert.equal(up.peers.length, 1);
    });
  });

  test(`${what} is asked for by the gateway when the upstream says nothing`, async () => {
    await withUpstream(
      server(() => {}),
      { expectWait: '20ms' },
      async (_, up, client) => {
        client.send(headOf(field));
        assert.ok(await client.untilText(asked));
        client.send(sent);
        assert.equal(await answered(client), `200 got ${body.length}`);
        assert.equal(up.requests[0]!.body, body);
        assert.equal(timesAsked(client), 1);
      },
    );
  });

  test(`${what} of a caller that does not wait is passed on at once`, async () => {
    const heads: string[] = [];
    const hooks = server((_, head) => heads.push(head));
    await withUpstream(hooks, patient, async (rig, up, client) => {
      client.send(headOf(field));
      assert.ok(await until(() => heads.length === 1));
      client.send(sent);
      assert.equal(await answered(client), `200 got ${body.length}`);
      assert.equal(up.requests[0]!.body, body);
      assert.equal(timesAsked(client), 0);
      const other = await RawClient.open(rig.port);
      other.send(headOf(field) + sent);
      assert.equal(await answered(other), `200 got ${body.length}`);
      assert.equal(timesAsked(other), 0);
      other.close();
    });
  });

  test(`${what} is sent without the expectation to an upstream that does not know it (417)`, async () => {
    const heads: string[] = [];
    const hooks = server((peer, head) => {
      heads.push(head);
      if (expects(head)) peer.send('HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n');
    });
    await withUpstream(hooks, patient, async (_, up, client) => {
      client.send(headOf(field));
      assert.ok(await client.untilText(asked), client.text);
      client.send(sent);
      assert.equal(await answered(client), `200 got ${body.length}`);
      assert.deepEqual(heads.map(expects), [true, false]);
      assert.equal(up.requests.at(-1)!.body, body);
    });
  });

  test(`${what} is asked for by the gateway where it is told to (expect: answer)`, async () => {
    const heads: string[] = [];
    const hooks = server((_, head) => heads.push(head));
    await withUpstream(hooks, { expect: 'answer' }, async (_, up, client) => {
      client.send(headOf(field));
      assert.ok(await client.untilText(asked));
      client.send(sent);
      assert.equal(await answered(client), `200 got ${body.length}`);
      assert.deepEqual(heads.map(expects), [false]);
      assert.equal(up.requests[0]!.body, body);
    });
  });
}

test('refusals of the gateway itself ask for no body', async () => {
  const { field } = bodies['a long body']!;
  const heads: string[] = [];
  await withServers([server((_, head) => heads.push(head))], async (_, ports) => {
    const input = simple(ports, patient, {
      route: { path: '/here/*', methods: ['POST'], bodyMax: 1000 },
    });
    await withGateway(input, async ({ port }) => {
      const wanted = { 'POST /there': 404, 'PUT /here/x': 405, 'POST /here/x': 413 };
      for (const [line, status] of Object.entries(wanted)) {
        const client = await RawClient.open(port);
        client.send(headOf(field, `${line} HTTP/1.1`));
        assert.match(await answered(client), new RegExp(`^${status} `));
        assert.ok(await client.untilEnd());
        assert.equal(timesAsked(client), 0);
        client.close();
      }
    });
  });
  assert.deepEqual(heads, []);
});

test('a route by model needs the body to know its upstream, so the gateway asks for it', async () => {
  const heads: string[] = [];
  await withServers([server((_, head) => heads.push(head))], async ([up], ports) => {
    await withGateway(simple(ports, patient, { route: { models: ['m'] } }), async ({ port }) => {
      const client = await RawClient.open(port);
      const body = JSON.stringify({ model: 'm' });
      client.send(headOf(`Content-Length: ${body.length}`));
      assert.ok(await client.untilText(asked));
      client.send(body);
      assert.equal(await answered(client), `200 got ${body.length}`);
      assert.deepEqual(heads.map(expects), [false]);
      assert.equal(up!.requests[0]!.body, body);
      client.close();
    });
  });
});

test('the expectation of an HTTP/1.0 caller is ignored', async () => {
  const heads: string[] = [];
  const hooks = server((_, head) => heads.push(head));
  await withUpstream(hooks, patient, async (_, _up, client) => {
    client.send(headOf(`Content-Length: ${small.length}`, 'POST / HTTP/1.0'));
    client.send(small);
    assert.equal(await answered(client), `200 got ${small.length}`);
    assert.deepEqual(heads.map(expects), [false]);
    assert.equal(timesAsked(client), 0);
  });
});

test('103 reaches a caller that waits for 100, and does not take its place', async () => {
  const hints = 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n';
  await withUpstream(
    server((peer) => peer.send(hints)),
    patient,
    async (_, up, client) => {
      client.send(headOf(`Content-Length: ${small.length}`));
      assert.ok(await client.untilText('103 Early Hints'));
      assert.equal(timesAsked(client), 0);
      up.peers[0]!.send(asked);
      assert.ok(await client.untilText(asked));
      client.send(small);
      assert.equal(await answered(client), `200 got ${small.length}`);
    },
  );
});

test('a 100 that nobody asked for stays between upstream and gateway', async () => {
  await withUpstream(
    server((peer) => peer.send(asked)),
    patient,
    async (_, _up, client) => {
      client.send(`POST / HTTP/1.1\r\nHost: t\r\nContent-Length: ${small.length}\r\n\r\n${small}`);
      assert.equal(await answered(client), `200 got ${small.length}`);
      assert.equal(timesAsked(client), 0);
    },
  );
});

test('a caller that waits for 100 is not late with its body', async () => {
  await withServers([server(() => {})], async (_, ports) => {
    const input = simple(ports, { expectWait: '1500ms' }, { limits: { bodyGap: '100ms' } });
    await withGateway(input, async ({ port }) => {
      const client = await RawClient.open(port);
      client.send(headOf(`Content-Length: ${small.length}`));
      assert.ok(await client.until(() => client.text !== ''));
      assert.equal(client.text, asked);
      client.send(small);
      assert.equal(await answered(client), `200 got ${small.length}`);
      client.close();
    });
  });
});

test('a caller that leaves while it waits for 100 is heard, and the upstream with it', async () => {
  let heads = 0;
  const hooks = server(() => heads++);
  await withUpstream(hooks, patient, async (rig, up, client) => {
    client.send(headOf(`Content-Length: ${small.length}`));
    assert.ok(await until(() => heads === 1));
    client.close();
    assert.ok(await until(() => rig.gateway.server.counters.exchangesOpen === 0));
    assert.ok(await until(() => up.openPeers === 0));
  });
});

test('the body of a caller that does not wait is kept until there is a connection for it', async () => {
  let open: RawPeer | null = null;
  const hooks: RawServerHooks = {
    onRequest: (peer, { method, body }) => {
      if (method === 'GET') open = peer;
      else peer.send(ok(`got ${body.length}`));
    },
  };
  const upstream = { ...patient, limits: { connections: 1 } };
  for (const { field, body, sent } of Object.values(bodies)) {
    open = null;
    await withUpstream(hooks, upstream, async (rig, up, client) => {
      const first = await RawClient.open(rig.port);
      first.send('GET / HTTP/1.1\r\nHost: t\r\n\r\n');
      assert.ok(await until(() => open !== null));
      client.send(headOf(field));
      assert.ok(await until(() => upstreamOf(rig).pending === 2));
      client.send(sent);
      const { counters } = rig.gateway.server;
      assert.ok(await until(() => counters.bytesIn > headOf(field).length + 100 || sent === small));
      open!.send(ok('first'));
      assert.equal(await answered(client), `200 got ${body.length}`);
      assert.equal(up.requests.at(-1)!.body, body);
      first.close();
    });
  }
});

const dying: RawServerHooks = {
  onRequest: (peer) => peer.reset(),
  onHead: (peer) => peer.send(asked),
};
const retrying = { ...patient, balance: 'round-robin', retry: { backoff: 0 } };

test('a small body that the caller was asked for is at hand for another target', async () => {
  const willing = server((peer) => peer.send(asked));
  await withServers([dying, willing], async (servers, ports) => {
    await withGateway(simple(ports, retrying), async ({ port }) => {
      const client = await RawClient.open(port);
      client.send(headOf(`Content-Length: ${small.length}`, 'PUT / HTTP/1.1'));
      assert.ok(await client.untilText(asked));
      client.send(small);
      assert.equal(await answered(client), `200 got ${small.length}`);
      assert.deepEqual(
        servers.map(({ requests }) => requests[0]!.body),
        [small, small],
      );
      assert.equal(timesAsked(client), 1);
      client.close();
    });
  });
});

test('a target that dies or is busy before it asks for the body costs the caller nothing', async () => {
  const busy = 'HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n';
  const willing = server((peer) => peer.send(asked));
  for (const first of [server((peer) => peer.reset()), server((peer) => peer.send(busy))]) {
    for (const { field, body, sent } of Object.values(bodies)) {
      await withServers([first, willing], async ([, second], ports) => {
        await withGateway(simple(ports, retrying), async ({ port }) => {
          const client = await RawClient.open(port);
          client.send(headOf(field, 'PUT / HTTP/1.1'));
          assert.ok(await client.untilText(asked), client.text);
          client.send(sent);
          assert.equal(await answered(client), `200 got ${body.length}`);
          assert.equal(second!.requests[0]!.body, body);
          assert.equal(timesAsked(client), 1);
          client.close();
        });
      });
    }
  }
});

const hasCurl = ((): boolean => {
  try {
    execFileSync('curl', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
})();

test('curl uploads nothing to an upstream that refuses', {
  skip: hasCurl ? false : 'no curl',
}, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'onehop-expect-'));
  const file = join(folder, 'body');
  writeFileSync(file, Buffer.alloc(5_000_000, 'x'));
  try {
    await withUpstream(
      server((peer) => peer.send(denied)),
      patient,
      async (rig) => {
        const out = await new Promise<string>((resolve, reject) => {
          const url = `http://127.0.0.1:${rig.port}/`;
          const wait = ['-H', 'Expect: 100-continue', '--expect100-timeout', '30'];
          const args = [
            '-s',
            ...wait,
            '--data-binary',
            `@${file}`,
            '-w',
            ' %{http_code} %{size_upload}',
            url,
          ];
          execFile('curl', args, (error, stdout) =>
            error === null ? resolve(stdout) : reject(error),
          );
        });
        assert.equal(out, 'nope 401 0');
      },
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
});
