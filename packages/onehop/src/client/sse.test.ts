import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { OnehopError } from '../core/index.ts';
import { type ServerSentEvent, SseParser } from './sse.ts';

function parse(text: string, cuts: readonly number[] = []): ServerSentEvent[] {
  const bytes = Buffer.from(text);
  const parser = new SseParser();
  const events: ServerSentEvent[] = [];
  let from = 0;
  for (const to of [...cuts, bytes.length]) {
    parser.push(bytes.subarray(from, to));
    for (let event = parser.next(); event !== null; event = parser.next()) events.push(event);
    from = to;
  }
  return events;
}

const datas = (text: string): string[] => parse(text).map(({ data }) => data);

test('the examples of the HTML standard', () => {
  assert.deepEqual(datas('data: YHOO\ndata: +2\ndata: 10\n\n'), ['YHOO\n+2\n10']);
  assert.deepEqual(
    parse(
      ': test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n',
    ),
    [
      { event: 'message', data: 'first event', id: '1', retryMs: null },
      { event: 'message', data: 'second event', id: '', retryMs: null },
      { event: 'message', data: ' third event', id: '', retryMs: null },
    ],
  );
  assert.deepEqual(datas('data\n\ndata\ndata\n\ndata:'), ['', '\n']);
  assert.deepEqual(datas('data:test\n\ndata: test\n\n'), ['test', 'test']);
});

test('line ends may be LF, CRLF or CR, mixed', () => {
  assert.deepEqual(datas('data: a\r\n\r\ndata: b\r\rdata: c\n\n'), ['a', 'b', 'c']);
});

test('fields: event, retry, id with NUL, unknown ones', () => {
  assert.deepEqual(
    parse('event: add\nretry: 250\nid: x\ndata: 1\n\nid: a\0b\nretry: 2s\nfoo: 1\ndata: 2\n\n'),
    [
      { event: 'add', data: '1', id: 'x', retryMs: 250 },
      { event: 'message', data: '2', id: 'x', retryMs: 250 },
    ],
  );
  assert.deepEqual(datas('event: only a name\n\n'), []);
});

test('a byte order mark at the start is dropped', () => {
  assert.deepEqual(datas('\ufeffdata: a\n\n'), ['a']);
});

test('the same events wherever the bytes are cut', () => {
  const text =
    '\ufeffid: 7\r\ndata: h\u00e9\u20ac\ud83d\ude00\r\ndata: two\r\n\r\nevent: e\rdata: z\r\rdata: end\n\n';
  const whole = parse(text);
  assert.equal(whole.length, 3);
  const length = Buffer.byteLength(text);
  for (let cut = 0; cut <= length; cut++)
    assert.deepEqual(parse(text, [cut]), whole, `cut at ${cut}`);
  const everywhere = Array.from({ length }, (_, i) => i);
  assert.deepEqual(parse(text, everywhere), whole);
});

test('an event without its empty line is not delivered', () => {
  assert.deepEqual(datas('data: half\n'), []);
});

test('an event beyond the bound is refused, in one line or in many', () => {
  const tooLarge = (error: unknown): boolean =>
    (error as OnehopError).code === 'RESPONSE_TOO_LARGE';
  assert.throws(() => new SseParser(100).push(Buffer.from(`data: ${'x'.repeat(200)}`)), tooLarge);
  assert.throws(
    () => new SseParser(100).push(Buffer.from('data: 0123456789\n'.repeat(20))),
    tooLarge,
  );
  new SseParser(100).push(Buffer.from('data: 0123456789\n\n'.repeat(20)));
});
