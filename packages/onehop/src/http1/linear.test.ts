import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ParserLimits, Read, RequestParser, ResponseParser, requestLimits } from './index.ts';

const wide: ParserLimits = {
  ...requestLimits,
  headBytesMax: 8 * 1024 * 1024,
  headerBytesMax: 8 * 1024 * 1024,
  trailerBytesMax: 8 * 1024 * 1024,
};

/** CPU milliseconds; the least of three, because others use the machine too. */
function cpuMs(work: () => void): number {
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 3; i++) {
    const before = process.cpuUsage();
    work();
    const { user, system } = process.cpuUsage(before);
    best = Math.min(best, (user + system) / 1000);
  }
  return best;
}

/** Feeds `text` in pieces of `step` bytes and returns what the last read said. */
function feed(parser: RequestParser | ResponseParser, bytes: Buffer, step: number): number {
  let last: number = Read.NeedMore;
  for (let from = 0; from < bytes.length; from += step) {
    const end = Math.min(bytes.length, from + step);
    let at = from;
    do {
      last = parser.read(bytes, at, end);
      at = parser.position;
    } while (last !== Read.NeedMore && last !== Read.Error && last !== Read.End);
    if (last === Read.Error) throw new Error(`error ${parser.errorCode}`);
  }
  return last;
}

/** Eight times the input may cost no more than 24 times the work; quadratic would be 64. */
function assertLinear(work: (size: number) => void, size: number): void {
  work(size);
  const small = Math.max(
    cpuMs(() => work(size)),
    0.5,
  );
  const large = cpuMs(() => work(size * 8));
  assert.ok(large < small * 24, `${size}: ${small} ms, ${size * 8}: ${large} ms`);
}

test('a long field fed byte by byte costs linear time', () => {
  assertLinear((size) => {
    const parser = new RequestParser(wide);
    const bytes = Buffer.from(`GET / HTTP/1.1\r\nHost: a\r\nX: ${'a'.repeat(size)}\r\n\r\n`);
    assert.equal(feed(parser, bytes, 1), Read.End);
  }, 100_000);
});

test('blanks before a value fed byte by byte cost linear time', () => {
  assertLinear((size) => {
    const parser = new RequestParser(wide);
    const bytes = Buffer.from(`GET / HTTP/1.1\r\nHost: a\r\nX:${' '.repeat(size)}\r\n\r\n`);
    assert.equal(feed(parser, bytes, 1), Read.End);
  }, 100_000);
});

test('one-byte chunks cost linear time', () => {
  assertLinear((size) => {
    const parser = new ResponseParser();
    parser.begin();
    const bytes = Buffer.from(
      `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${'1\r\nx\r\n'.repeat(size)}0\r\n\r\n`,
    );
    assert.equal(feed(parser, bytes, bytes.length), Read.End);
  }, 20_000);
});

test('a long trailer fed byte by byte costs linear time', () => {
  assertLinear((size) => {
    const parser = new RequestParser(wide);
    const bytes = Buffer.from(
      `POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ${'a'.repeat(size)}\r\n\r\n`,
    );
    assert.equal(feed(parser, bytes, 1), Read.End);
  }, 100_000);
});

test('bodies are lent, not copied, and the parser keeps nothing of them', () => {
  const parser = new ResponseParser();
  parser.begin();
  const head = Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n');
  assert.equal(parser.read(head, 0, head.length), Read.Head);
  const body = Buffer.from('..abcdef..');
  assert.equal(parser.read(body, 2, 5), Read.Body);
  assert.deepEqual([parser.bodyStart, parser.bodyEnd], [2, 5]);
  assert.equal(parser.read(body, 5, 10), Read.Body);
  assert.deepEqual([parser.bodyStart, parser.bodyEnd, parser.position], [5, 8, 8]);
  assert.equal(parser.read(body, 8, 10), Read.End);
  assert.equal(parser.position, 8);
});

test('the bound of a body may be lowered for one message', () => {
  const parser = new RequestParser();
  const text =
    'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n';
  const bytes = Buffer.from(text);
  assert.equal(parser.read(bytes, 0, bytes.length), Read.Head);
  parser.bodyBytesMax = 4;
  assert.equal(parser.read(bytes, parser.position, bytes.length), Read.Error);
  parser.begin();
  assert.equal(parser.bodyBytesMax, requestLimits.bodyBytesMax);
});
