/**
 * The 33 questions of h1spec, asked of a live gateway: does it wait for a request that is not whole,
 * take what is valid and refuse what is not? The real tool (uNetworking/h1spec, run with Deno) says 33
 * of 33 on both runtimes; these are our own, stricter: each refusal must also close the connection
 * and reach no upstream, each valid request must reach it once and its connection stay usable.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { transport } from 'onehop/transport';
import { ok, RawServer } from '../support/raw-server.ts';
import { pause, type Rig, simple, startGateway, until } from './gateway-rig.ts';
import { parseResponses, RawClient } from './raw-client.ts';

let server: RawServer;
let rig: Rig;
before(async () => {
  server = new RawServer((peer, { body }) => peer.send(ok(body)));
  await server.listen(transport);
  rig = await startGateway(simple([server.port]));
});
after(async () => {
  await rig.close();
  await server.close();
});

const line = 'GET /hello HTTP/1.1\r\n';
/** Each is the beginning of one and the same request; the rest follows once it has waited. */
const whole = `${line}Host: localhost\r\n\r\n`;
const fragments: [what: string, length: number][] = [
  ['method cut', 1],
  ['request line cut behind the method', 4],
  ['target cut', 10],
  ['request line cut behind the target', 11],
  ['protocol name cut', 15],
  ['request line without its end', 19],
  ['request line cut between CR and LF', 20],
  ['no field yet', 21],
  ['field name cut', line.length + 3],
  ['field cut behind the colon', line.length + 5],
  ['field cut before the value', line.length + 6],
  ['field without its end', line.length + 15],
  ['field cut between CR and LF', line.length + 16],
  ['no empty line', line.length + 17],
  ['empty line cut between CR and LF', line.length + 18],
];

const fields = (text: string): string => `GET / HTTP/1.1\r\nHost: example.com\r\n${text}\r\n`;
const chunks = 'Transfer-Encoding: chunked\r\n\r\nc\r\nHello chunks\r\n0\r\n\r\n';
const post = 'POST / HTTP/1.1\r\nHost: example.com\r\n';
const valid: [what: string, request: string, body: string][] = [
  ['Expect: 100-continue without a body', fields('Expect: 100-continue\r\n'), ''],
  ['plain GET', fields(''), ''],
  [
    'odd case, a tab before a value, a field without value',
    'GET / HTTP/1.1\r\nhoSt:\texample.com\r\nempty:\r\n\r\n',
    '',
  ],
  ['value of nothing but a space', fields('X-Empty: \r\n'), ''],
  ['POST with a length', `${post}Content-Length: 5\r\n\r\nhello`, 'hello'],
  ['POST in chunks', post + chunks, 'Hello chunks'],
];
const invalid: [what: string, request: string][] = [
  ['request line without a version', 'GET / \r\n\r\n'],
  ['brackets in a field name', fields('X-Invalid[]: test\r\n')],
  ['no Host', 'GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\n'],
  ['two Hosts', 'GET / HTTP/1.1\r\nHost: example.com\r\nHost: example.org\r\n\r\n'],
  ['huge negative Content-Length', fields('Content-Length: -123456789123456789123456789\r\n')],
  ['negative Content-Length', fields('Content-Length: -1234\r\n')],
  ['Content-Length in letters', fields('Content-Length: abc\r\n')],
  ['control byte in a value', fields('X-Bad: test\u0007\r\n')],
  ['unknown version', 'GET / HTTP/9.9\r\nHost: example.com\r\n\r\n'],
  ['text before the method', 'Extra lineGET / HTTP/1.1\r\nHost: example.com\r\n\r\n'],
  ['CR without LF in the head', 'GET / HTTP/1.1\r\nHost: example.com\r\n\rSome: Test\r\n\r\n'],
  [
    'both framings, in odd case',
    `${post}content-LengtH: 5\r\nTransFer-Encoding: chunked\r\n\r\nc\r\nHello chunks\r\n0\r\n\r\n`,
  ],
];

test('there are 33 of them', () => {
  assert.equal(fragments.length + valid.length + invalid.length, 33);
});

test('15 fragments: it waits, and answers once the rest is there', async () => {
  await Promise.all(
    fragments.map(async ([what, length]) => {
      const client = await RawClient.open(rig.port);
      client.send(whole.slice(0, length));
      await pause(500);
      assert.equal(client.text, '', `${what}: answered too early`);
      assert.equal(client.ended, false, `${what}: closed`);
      client.send(whole.slice(length));
      assert.ok(await client.untilText('200 OK'), `${what}: the rest is not understood`);
      client.close();
    }),
  );
});

for (const [what, request, body] of valid) {
  test(`valid: ${what}`, async () => {
    const client = await RawClient.open(rig.port);
    const before = server.requests.length;
    const final = () => parseResponses(client.text).filter(({ status }) => status >= 200);
    client.send(request);
    assert.ok(await client.until(() => final()[0]?.complete === true), client.text);
    assert.equal(final()[0]!.status, 200);
    assert.equal(final()[0]!.body, body);
    client.send(whole);
    assert.ok(await client.until(() => final().length === 2), 'the connection is not kept');
    assert.equal(server.requests.length, before + 2);
    client.close();
  });
}

for (const [what, request] of invalid) {
  test(`invalid: ${what}`, async () => {
    const client = await RawClient.open(rig.port);
    const before = server.requests.length;
    client.send(request);
    assert.ok(await client.untilEnd(), 'the connection is kept');
    const [answer, ...more] = parseResponses(client.text);
    assert.ok(answer!.status >= 400 && answer!.status <= 505, `${answer!.status}`);
    assert.equal(Object.fromEntries(answer!.fields)['connection'], 'close');
    assert.deepEqual(more, []);
    client.close();
    assert.equal(await until(() => server.requests.length > before, 30), false, 'it was forwarded');
  });
}
