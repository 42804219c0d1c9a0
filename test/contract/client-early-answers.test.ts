/**
 * A server that answers before it has read the request body, and closes: the client reads the answer
 * however its own sending ended, and sends nothing twice.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Client, createFetch } from 'onehop';
import { EarlyUpstream, earlyAnswers, earlyBody, endings } from '../support/early-upstream.ts';

const bodyBytes = 5_000_000;
const tries = 20;
const body = Buffer.alloc(bodyBytes, 'x');

let upstream: EarlyUpstream;
before(async () => {
  upstream = await EarlyUpstream.start();
});
after(() => upstream.close());

async function* pieces(): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bodyBytes; at += 50_000) yield body.subarray(at, at + 50_000);
}

type Ask = (client: Client, url: string) => Promise<{ status: number; text: string }>;

const viaRequest =
  (makeBody: () => Uint8Array | AsyncIterable<Uint8Array>): Ask =>
  async (client, url) => {
    const response = await client.request({ url, method: 'POST', body: makeBody() });
    return { status: response.status, text: await response.text() };
  };
const viaFetch =
  (makeInit: () => RequestInit): Ask =>
  async (client, url) => {
    const response = await createFetch(client)(url, { method: 'POST', ...makeInit() } as never);
    return { status: response.status, text: await response.text() };
  };
const ways: Record<string, Ask> = {
  'bytes in memory': viaRequest(() => body),
  'a stream': viaRequest(pieces),
  'fetch with bytes': viaFetch(() => ({ body })),
  'fetch with a stream': viaFetch(
    () => ({ body: ReadableStream.from(pieces()), duplex: 'half' }) as RequestInit,
  ),
};

describe('regressions: early answers', () => {
  for (const ending of endings) {
    for (const [way, ask] of Object.entries(ways)) {
      test(`the answer was lost when the server closed within the upload (${way}, ${ending})`, async () => {
        const got: string[] = [];
        const wanted: string[] = [];
        for (let index = 0; index < tries; index++) {
          const { status, path } = earlyAnswers[index % earlyAnswers.length]!;
          const url = `http://127.0.0.1:${upstream.port}${path}/${ending}/${(index % 3) * 5}`;
          // Each on a connection of its own: one that may be kept, as far as the answer says, is not.
          const client = new Client();
          const answer = await ask(client, url).catch((error: Error) => error);
          client.destroy();
          got.push(answer instanceof Error ? String(answer) : `${answer.status} ${answer.text}`);
          wanted.push(`${status} ${earlyBody}`);
        }
        assert.deepEqual(got, wanted);
      });
    }
  }

  test('a POST whose head was read was sent again when its body could not be written', async () => {
    const client = new Client();
    try {
      const origin = `http://127.0.0.1:${upstream.port}`;
      const heads = async (): Promise<number> =>
        Number(await (await client.request({ url: `${origin}/heads` })).text());
      const before = await heads();
      for (let index = 0; index < tries; index++) {
        const ending = index % 2 === 0 ? 'close' : 'reset';
        const url = `${origin}/0/length/close/${ending}/${(index % 3) * 5}`;
        await assert.rejects(
          client.request({ url, method: 'POST', body }),
          ({ code }: { code: string }) => code === 'UPSTREAM_RESET' || code === 'UPSTREAM_CLOSED',
        );
      }
      assert.equal(await heads(), before + tries);
    } finally {
      client.destroy();
    }
  });
});
