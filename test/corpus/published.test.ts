/**
 * The published conformance cases as far as a codec can decide them. What only a proxy can decide is
 * listed with its reason in gateway-only.json; nothing is left out without a word.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { errorReplyStatus, PARSE_ERRORS } from 'onehop/http1';
import { fromBase64, type GatewayOnly, loadJson, type PublishedCase } from './load.ts';
import {
  cuts,
  type Expected,
  type Kind,
  type Message,
  single,
  type Transcript,
  transcribe,
} from './transcript.ts';

const requests = loadJson<PublishedCase[]>('requests.json');
const responses = loadJson<PublishedCase[]>('responses.json');
const gatewayOnly = loadJson<GatewayOnly>('gateway-only.json');

const bytesOf = (entry: PublishedCase): Buffer =>
  entry.segments === undefined
    ? fromBase64(entry.bytes_base64)
    : Buffer.concat(entry.segments.map(([text]) => fromBase64(text)));

function expectedOf(entry: PublishedCase): Expected {
  if (entry.client_request_base64 === undefined) return {};
  const { messages } = transcribe('request', [fromBase64(entry.client_request_base64)]);
  const message = messages[0]!;
  const method = message.line.split(' ')[0];
  return {
    isHead: method === 'HEAD',
    isConnect: method === 'CONNECT',
    offersUpgrade: message.upgrade,
  };
}

function errorOf(transcript: Transcript): string {
  if (transcript.error !== '') return transcript.error;
  const { finish } = transcript;
  return finish === 'idle' || finish === 'end' || finish === 'closed' ? '' : finish;
}

const statusOf = (error: string): number =>
  errorReplyStatus(PARSE_ERRORS.findIndex(({ name }) => name === error));

/** Why the codec's decision on a request is not `outcome`; '' when it is. */
function requestDiffers(outcome: PublishedCase['expect'], run: Transcript): string {
  const error = errorOf(run);
  if (outcome.reject !== undefined) {
    if (error === '') return `accepted ${run.messages.map(({ line }) => line).join()}`;
    // A message that is already complete would have been forwarded.
    if (run.messages.some(({ complete }) => complete)) return 'a request before the fault counts';
    if (outcome.reject.includes(0) || outcome.reject.includes(statusOf(error))) return '';
    return `${error} is answered with ${statusOf(error)}, not ${outcome.reject}`;
  }
  const wanted = outcome.forward?.upstream;
  if (wanted === undefined) {
    return outcome.forward === undefined || error !== '' ? `not for a codec (${error})` : '';
  }
  const got = run.messages.filter(({ complete }) => complete);
  const count = wanted[0]!.many ?? wanted.length;
  if (got.length !== count) return `${got.length} requests (${error}), wanted ${count}`;
  for (const [i, want] of wanted.entries()) {
    const reason = wantDiffers(want, got[i]!);
    if (reason !== '') return reason;
  }
  return '';
}

function wantDiffers(
  want: NonNullable<NonNullable<PublishedCase['expect']['forward']>['upstream']>[number],
  message: Message,
): string {
  const [method, target] = message.line.split(' ');
  if (method !== want.method) return `method ${method}`;
  // Absolute-form is turned into origin-form on the way out.
  if (want.target !== undefined && !target!.endsWith(want.target)) return `target ${target}`;
  const host = message.authority.toLowerCase();
  if (want.host !== undefined && host !== '' && host !== want.host.toLowerCase()) {
    return `host ${host}`;
  }
  if (message.body !== fromBase64(want.body_base64 ?? '').toString('latin1')) return 'body differs';
  return '';
}

function responseDiffers(outcome: PublishedCase['expect'], run: Transcript): string {
  const error = errorOf(run);
  const final = run.messages.find(({ interim }) => !interim);
  if (outcome.reject !== undefined) return error !== '' && final === undefined ? '' : 'accepted';
  const want = outcome.forward!;
  if (want.status === undefined) return error === '' ? '' : error;
  if (final === undefined) return `no head (${error})`;
  if (Number(final.line) !== want.status) return `status ${final.line}`;
  if (want.complete === true && !final.complete) return `incomplete (${error})`;
  if (want.complete === false && final.complete) return 'complete';
  if (want.complete === true && want.body_base64 !== undefined) {
    if (final.body !== fromBase64(want.body_base64).toString('latin1')) return 'body differs';
  }
  for (const status of want.interim ?? []) {
    if (!run.messages.some(({ interim, line }) => interim && line === `${status}`)) {
      return `no interim ${status}`;
    }
  }
  return '';
}

/** The connection cannot be used again: closed by an error, by the head or by bytes too many. */
function closes(run: Transcript): boolean {
  const last = run.messages.at(-1);
  return errorOf(run) !== '' || run.rest > 0 || (last !== undefined && !last.keepAlive);
}

function decide(kind: Kind, entry: PublishedCase, run: Transcript): string {
  const differs = kind === 'request' ? requestDiffers : responseDiffers;
  let reason = differs(entry.expect, run);
  const isFirstChoice = reason === '';
  if (reason !== '' && entry.also_ok !== undefined && differs(entry.also_ok, run) === '') {
    reason = '';
  }
  if (reason !== '' && entry.wait_ok === true && run.messages.every(({ complete }) => !complete)) {
    reason = '';
  }
  // The closing rule belongs to the first choice, not to what is also allowed.
  return isFirstChoice && entry.must_close === true && !closes(run) ? 'stays open' : reason;
}

for (const [kind, cases] of [
  ['request', requests],
  ['response', responses],
] as const) {
  const listed = gatewayOnly[`${kind}s`];

  test(`every published ${kind} case is decided as the rules say, or listed`, () => {
    const wrong: string[] = [];
    let decided = 0;
    for (const entry of cases) {
      const run = transcribe(kind, [bytesOf(entry)], [expectedOf(entry)]);
      const reason = decide(kind, entry, run);
      if (listed[entry.id] !== undefined) {
        if (reason === '') wrong.push(`${entry.id} is listed but the codec decides it`);
        else if (run.error !== '') wrong.push(`${entry.id} is listed but the codec refuses it`);
      } else if (reason !== '') wrong.push(`${entry.id} ${entry.title}: ${reason}`);
      else decided++;
    }
    assert.deepEqual(wrong, []);
    const ids = new Set(cases.map(({ id }) => id));
    for (const id of Object.keys(listed)) assert.ok(ids.has(id), `${id} is not a case`);
    assert.equal(decided + Object.keys(listed).length, cases.length);
  });

  test(`every published ${kind} case gives one result however it is cut`, () => {
    for (const entry of cases) {
      const bytes = bytesOf(entry);
      const expected = [expectedOf(entry)];
      const whole = transcribe(kind, [bytes], expected);
      assert.deepEqual(transcribe(kind, single(bytes), expected), whole, entry.id);
      for (const at of cuts(bytes.length)) {
        const pieces = [bytes.subarray(0, at), bytes.subarray(at)];
        assert.deepEqual(transcribe(kind, pieces, expected), whole, `${entry.id} cut at ${at}`);
      }
    }
  });

  test(`every published ${kind} case is the same behind and before a good message`, () => {
    const good =
      kind === 'request'
        ? Buffer.from('POST /good HTTP/1.1\r\nHost: g.test\r\nContent-Length: 3\r\n\r\nabc')
        : Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc');
    for (const entry of cases) {
      const bytes = bytesOf(entry);
      const one = expectedOf(entry);
      const alone = transcribe(kind, [bytes], [one]);
      const after = transcribe(kind, [good, bytes], [{}, one]);
      assert.equal(after.messages[0]!.body, 'abc', entry.id);
      assert.deepEqual(after.messages.slice(1), alone.messages, entry.id);
      assert.equal(after.error, alone.error, entry.id);
      const joined = transcribe(kind, [Buffer.concat([good, bytes])], [{}, one]);
      assert.deepEqual(joined, after, entry.id);
      const last = alone.messages.at(-1);
      if (alone.error !== '' || last?.complete !== true || !last.keepAlive || alone.rest > 0) {
        continue;
      }
      const wanted = kind === 'request' || last.framing !== 4;
      if (!wanted) continue;
      const before = transcribe(kind, [Buffer.concat([bytes, good])], [one, {}]);
      assert.deepEqual(before.messages.slice(0, -1), alone.messages, entry.id);
      assert.equal(before.messages.at(-1)!.body, 'abc', entry.id);
    }
  });
}
