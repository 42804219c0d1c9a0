/**
 * An upstream that answers before it has read the body, and closes: its answer is the caller's, and
 * what goes wrong with the upload behind it is never the caller's fault.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { askInPieces, FarCaller } from '../support/blunt-caller.ts';
import { EarlyUpstream, earlyAnswers, earlyBody, endings } from '../support/early-upstream.ts';
import { simple, until, withGateway } from './gateway-rig.ts';
import { parseResponses } from './raw-client.ts';

const bodyBytes = 5_000_000;
const pieceBytes = 100_000;
const tries = 20;

let upstream: EarlyUpstream;
let far: FarCaller;
before(async () => {
  upstream = await EarlyUpstream.start();
  far = new FarCaller();
});
after(async () => {
  far.close();
  await upstream.close();
});

const input = () =>
  simple(
    [upstream.port],
    // Each of these answers is a failure of the request, none of the target.
    { health: { ejectAfter: 1000 } },
  );

type UploadFraming = 'length' | 'chunked';

const headOf = (path: string, framing: UploadFraming): string => {
  const field =
    framing === 'length' ? `Content-Length: ${bodyBytes}` : 'Transfer-Encoding: chunked';
  return `POST ${path} HTTP/1.1\r\nHost: t\r\n${field}\r\n\r\n`;
};

/** One chunk of all there is. */
const fast = (port: number, path: string, framing: UploadFraming): Promise<string> => {
  const head = headOf(path, framing);
  if (framing === 'length') return far.ask(port, head, bodyBytes, '');
  return far.ask(port, `${head}${bodyBytes.toString(16)}\r\n`, bodyBytes, '\r\n0\r\n\r\n');
};

/** A final response is there to its end, whosever it is. */
const answered = (text: string): boolean =>
  parseResponses(text).some(({ status, complete }) => status >= 200 && complete);

const slow = (port: number, path: string, framing: UploadFraming): Promise<string> => {
  const piece = Buffer.alloc(pieceBytes, 'x');
  const size = `${pieceBytes.toString(16)}\r\n`;
  const sent =
    framing === 'length' ? piece : Buffer.concat([Buffer.from(size), piece, Buffer.from('\r\n')]);
  const pieces = [Buffer.from(headOf(path, framing))];
  for (let i = 0; i < bodyBytes / pieceBytes; i++) pieces.push(sent);
  if (framing === 'chunked') pieces.push(Buffer.from('0\r\n\r\n'));
  return askInPieces(port, pieces, answered);
};

for (const ending of ['close', 'reset'] as const) {
  test(`an upload whose upstream closed without an answer (${ending}) was the caller's fault: 400`, async () => {
    const sides = new Set<string>();
    const config = input();
    await withGateway(
      config,
      async ({ port }) => {
        for (let index = 0; index < tries; index++) {
          const path = `/0/length/close/${ending}/${(index % 3) * 5}`;
          assert.equal((await fast(port, path, 'length')).slice(9, 12), '502');
        }
      },
      { onFinish: ({ error }) => void sides.add(error!.side) },
    );
    assert.deepEqual([...sides], ['upstream']);
  });
}

for (const ending of endings) {
  for (const framing of ['length', 'chunked'] as const) {
    for (const [speed, ask] of Object.entries({ fast, slow })) {
      test(`a ${speed} upload (${framing}) was told 400 or 502 when its upstream had answered early (${ending})`, async () => {
        const sides: string[] = [];
        const config = input();
        const got: string[] = [];
        const wanted: string[] = [];
        const attempt = async (port: number, index: number): Promise<void> => {
          const { status, path } = earlyAnswers[index % earlyAnswers.length]!;
          const text = await ask(port, `${path}/${ending}/${(index % 3) * 5}`, framing);
          wanted.push(`${status} whole`);
          const isWhole = text.includes(earlyBody);
          got.push(`${text.slice(9, 12)} ${isWhole ? 'whole' : text.slice(-120)}`);
        };
        await withGateway(
          config,
          async ({ port, gateway }) => {
            const isIdle = (): boolean =>
              [...gateway.tables.upstreams.values()].some(({ members }) =>
                members.some(({ origin }) => origin.stats().connections.idle > 0),
              );
            for (let index = 0; index < tries; index++) {
              await attempt(port, index);
              // This upstream ends connections that it promised to keep: not taken for the next.
              await until(() => !isIdle());
            }
          },
          {
            onFinish({ error }) {
              if (error !== null && error.side !== 'upstream') sides.push(error.code);
            },
          },
        );
        assert.deepEqual(got, wanted);
        assert.deepEqual(sides, []);
      });
    }
  }
}
