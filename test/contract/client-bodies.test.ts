/**
 * Long bodies that come in many reads: memory of reads is handed on, joined and freed by hand on some
 * runtimes, so every way to take a body is checked byte for byte, with others under way.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Client, type ClientOptions, type ClientResponse, createFetch } from 'onehop';
import { transport } from 'onehop/transport';
import { RawServer, type Script } from '../support/raw-server.ts';

const lengths = [3_000, 20_000, 70_000, 200_000, 1_048_576, 3_000_001];

/** A body of `length` characters that depends on every position. */
function bodyOf(length: number, seed: number): string {
  let text = '';
  for (let i = 0; text.length < length; i++) text += `"${seed}.${i}",`;
  return `[${text.slice(0, length - 5)}"]`.padEnd(length, ' ');
}

const texts = new Map<string, string>();
function textFor(target: string): string {
  let text = texts.get(target);
  if (text === undefined) {
    const [, , length, seed] = target.split('/');
    text = `"${bodyOf(Number(length), Number(seed)).slice(2).replaceAll('"', "'")}"`;
    texts.set(target, text);
  }
  return text;
}

const script: Script = (peer, { target }) => {
  const text = textFor(target);
  if (!target.startsWith('/chunked/')) {
    peer.send(`HTTP/1.1 200 OK\r\nContent-Length: ${text.length}\r\n\r\n${text}`);
    return;
  }
  let message = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n';
  for (let at = 0, size = 1; at < text.length; at += size, size = (size * 7 + 13) % 60_000) {
    size = Math.max(1, size);
    const part = text.slice(at, at + size);
    message += `${part.length.toString(16)}\r\n${part}\r\n`;
  }
  peer.send(`${message}0\r\n\r\n`);
};

async function withServer(
  options: ClientOptions,
  body: (client: Client, origin: string) => Promise<void>,
): Promise<void> {
  const server = new RawServer(script);
  await server.listen(transport);
  const client = new Client(options);
  try {
    await body(client, `http://127.0.0.1:${server.port}`);
  } finally {
    client.destroy();
    await server.close();
  }
}

const latin1 = (bytes: Uint8Array | ArrayBuffer): string =>
  Buffer.from(bytes as Uint8Array).toString('latin1');

const ways: Record<string, (response: ClientResponse) => Promise<string>> = {
  bytes: async (response) => latin1(await response.bytes()),
  text: (response) => response.text(),
  json: async (response) => JSON.stringify(await response.json()),
  async iteration(response) {
    const pieces: Uint8Array[] = [];
    for await (const piece of response.body) pieces.push(piece);
    return latin1(Buffer.concat(pieces));
  },
  async late(response) {
    await new Promise((resolve) => setTimeout(resolve, 30));
    return latin1(await response.bytes());
  },
};

const fetchWays: Record<string, (response: Response) => Promise<string>> = {
  arrayBuffer: async (response) => latin1(await response.arrayBuffer()),
  bytes: async (response) =>
    latin1(await (response as Response & { bytes(): Promise<Uint8Array> }).bytes()),
  text: (response) => response.text(),
  json: async (response) => JSON.stringify(await response.json()),
  blob: async (response) => latin1(await (await response.blob()).arrayBuffer()),
  async clone(response) {
    const copy = response.clone();
    const [one, two] = await Promise.all([response.text(), copy.text()]);
    assert.ok(one === two, 'both branches');
    return one;
  },
};

/** All lengths at once, three rounds, so that freed memory is soon used again by others. */
async function checkAll(
  take: (target: string) => Promise<string>,
  framings: readonly string[] = ['length', 'chunked'],
): Promise<void> {
  const kept: [target: string, text: string][] = [];
  for (let round = 0; round < 3; round++) {
    const targets = lengths.flatMap((length) =>
      framings.map((framing) => `/${framing}/${length}/${round}`),
    );
    await Promise.all(targets.map(async (target) => kept.push([target, await take(target)])));
  }
  for (const [target, text] of kept) assert.ok(text === textFor(target), target);
  assert.equal(kept.length, 3 * lengths.length * framings.length);
}

describe(`long bodies on ${transport.name}`, () => {
  for (const [name, way] of Object.entries(ways)) {
    test(`Client: ${name}`, () =>
      withServer({}, (client, origin) =>
        checkAll(async (target) => way(await client.get(origin + target))),
      ));
  }

  for (const [name, way] of Object.entries(fetchWays)) {
    test(`fetch: ${name}`, () =>
      withServer({}, (client, origin) => {
        const get = createFetch(client);
        return checkAll(async (target) => way((await get(origin + target)) as Response));
      }));
  }

  test('bytes that a caller holds stay as they are while others come and go', () =>
    withServer({}, async (client, origin) => {
      const held: [target: string, bytes: Uint8Array][] = [];
      for (let i = 0; i < 60; i++) {
        const target = `/length/${lengths[i % 4]}/${i}`;
        held.push([target, await (await client.get(origin + target)).bytes()]);
        await (await client.get(`${origin}/length/200000/0`)).text();
      }
      for (const [target, bytes] of held) assert.ok(latin1(bytes) === textFor(target), target);
    }));

  test('pipelined responses that share a read keep their own bytes', () =>
    withServer({ pipelining: 8, connectionsMax: 1 }, async (client, origin) => {
      // One alone first: the next ones find a connection that may be shared.
      await (await client.get(`${origin}/length/3000/0`)).bytes();
      for (const way of ['bytes', 'text', 'late'] as const) {
        const targets = [3000, 20_000, 17_000, 40_000, 20_000, 3000].map(
          (length, i) => `/length/${length}/${i}`,
        );
        const taken = await Promise.all(
          targets.map(async (target) => ways[way]!(await client.get(origin + target))),
        );
        targets.forEach((target, i) => {
          assert.ok(taken[i] === textFor(target), `${way} ${target}`);
        });
      }
    }));

  test('a piece that the caller transferred elsewhere was read into while the rest came', async () => {
    const text = bodyOf(120_000, 1);
    let sendRest = (): void => {};
    const server = new RawServer((peer) => {
      peer.send(
        `HTTP/1.1 200 OK\r\nContent-Length: ${text.length}\r\n\r\n${text.slice(0, 20_000)}`,
      );
      sendRest = () => peer.send(text.slice(20_000));
    });
    await server.listen(transport);
    const client = new Client();
    try {
      const response = await client.get(`http://127.0.0.1:${server.port}/`);
      let taken = '';
      const moved: [now: Uint8Array, then: Uint8Array][] = [];
      for await (const piece of response.body) {
        taken += latin1(piece);
        // By now the runtime has been told where to read to next.
        await new Promise((resolve) => setTimeout(resolve, 10));
        const { buffer } = structuredClone(piece, { transfer: [piece.buffer as ArrayBuffer] });
        const now = new Uint8Array(buffer);
        moved.push([now, now.slice()]);
        if (moved.length === 1) sendRest();
      }
      assert.ok(taken === text, 'every byte');
      for (const [now, then] of moved) assert.ok(Buffer.compare(now, then) === 0, 'changed later');
    } finally {
      client.destroy();
      await server.close();
    }
  });

  test('the end of a collected body and a pipelined one behind it come in one read', async () => {
    const first = bodyOf(100_000, 1);
    const second = bodyOf(90_000, 2);
    const head = (length: number): string => `HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\n\r\n`;
    const server = new RawServer((peer, { target, index }) => {
      if (target === '/warm') peer.send(`${head(2)}ok`);
      // Both requests are here: the body of the first in two parts, the second right behind it.
      if (index !== 2) return;
      peer.send(head(first.length) + first.slice(0, 83_000));
      server.timers.push(
        transport.clock.setTimer(
          () => peer.send(first.slice(83_000) + head(second.length) + second),
          30,
        ),
      );
    });
    await server.listen(transport);
    const client = new Client({ pipelining: 4, connectionsMax: 1 });
    const origin = `http://127.0.0.1:${server.port}`;
    try {
      assert.equal(await (await client.get(`${origin}/warm`)).text(), 'ok');
      const one = client.get(`${origin}/one`).then((response) => response.bytes());
      // Taken late: its bytes must outlive the first one's.
      const two = client.get(`${origin}/two`).then(async (response) => {
        await one;
        await new Promise((resolve) => setTimeout(resolve, 20));
        return response.bytes();
      });
      assert.ok(latin1(await one) === first, 'the first');
      assert.ok(latin1(await two) === second, 'the second');
    } finally {
      client.destroy();
      await server.close();
    }
  });
});
