import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  Framing,
  KnownField,
  type MessageParser,
  ParseError,
  Read,
  RequestParser,
  ResponseParser,
} from './index.ts';

interface Fed {
  heads: string[];
  body: string;
  ends: number;
  error: number;
  rest: string;
}

/** Drives a parser over the pieces; after End the next message begins only when `next` says so. */
function feed(
  parser: MessageParser & { head: ResponseParser['head'] | RequestParser['head'] },
  pieces: readonly string[],
  next?: () => boolean,
): Fed {
  const fed: Fed = { heads: [], body: '', ends: 0, error: 0, rest: '' };
  for (const piece of pieces) {
    const bytes = Buffer.from(piece, 'latin1');
    let at = 0;
    for (;;) {
      const read = parser.read(bytes, at, bytes.length);
      if (read === Read.NeedMore) break;
      if (read === Read.Error) {
        fed.error = parser.errorCode;
        return fed;
      }
      at = parser.position;
      if (read === Read.Head || read === Read.Interim) {
        fed.heads.push(parser.head.rawPairs().join('|'));
      } else if (read === Read.Body) {
        fed.body += bytes.toString('latin1', parser.bodyStart, parser.bodyEnd);
      } else {
        fed.ends++;
        if (next === undefined || !next()) {
          fed.rest += bytes.toString('latin1', at);
          break;
        }
      }
    }
  }
  return fed;
}

const response =
  'HTTP/1.1 200 OK\r\nServer: x\r\nContent-Type:  text/plain\t\r\nX-Odd:\r\nContent-Length: 5\r\n\r\nhello';

test('a response is the same whole, in halves and byte by byte', () => {
  const cuts: string[][] = [[response], [...response]];
  for (let i = 1; i < response.length; i++) cuts.push([response.slice(0, i), response.slice(i)]);
  for (const pieces of cuts) {
    const parser = new ResponseParser();
    parser.begin();
    const fed = feed(parser, pieces);
    assert.deepEqual(fed, {
      heads: ['Server|x|Content-Type|text/plain|X-Odd||Content-Length|5'],
      body: 'hello',
      ends: 1,
      error: 0,
      rest: '',
    });
  }
});

test('the head of a response answers by known field, by name and by index', () => {
  const parser = new ResponseParser();
  parser.begin();
  const bytes = Buffer.from(response, 'latin1');
  assert.equal(parser.read(bytes, 0, bytes.length), Read.Head);
  const { head } = parser;
  assert.equal(head.status, 200);
  assert.equal(head.reason, 'OK');
  assert.equal(head.keepAlive, true);
  assert.equal(head.framing, Framing.Length);
  assert.equal(head.contentLength, 5);
  assert.equal(head.valueOf(KnownField.ContentType), 'text/plain');
  assert.equal(head.valueOf(KnownField.Date), null);
  assert.equal(head.get('x-ODD'), '');
  assert.equal(head.name(2), 'X-Odd');
  assert.equal(head.nameLower(0), 'server');
  const copy = head.snapshot();
  bytes.fill(0);
  assert.deepEqual([copy.status, copy.reason, copy.get('server')], [200, 'OK', 'x']);
});

test('pipelined requests come out one by one, bodies apart', () => {
  const parser = new RequestParser();
  const text =
    'POST /a HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n' +
    '5;x="y;z"\r\nhello\r\nA\r\n0123456789\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\n\r\n' +
    '\r\nGET /b?c HTTP/1.1\r\nhost: a.test\r\n\r\n';
  for (const pieces of [[text], [...text]]) {
    const trailers: string[] = [];
    const fed = feed(parser, pieces, () => {
      trailers.push(parser.trailers.rawPairs().join('|'));
      parser.begin();
      return true;
    });
    assert.equal(fed.error, 0);
    assert.equal(fed.body, 'hello0123456789');
    assert.deepEqual(fed.heads, ['Host|a.test|Transfer-Encoding|chunked', 'host|a.test']);
    // Content-Length must not come late: it is dropped.
    assert.deepEqual(trailers, ['X-Sum|1', '']);
    assert.equal(fed.ends, 2);
  }
});

test('bytes after a response that nobody waits for are an error', () => {
  const parser = new ResponseParser();
  parser.begin();
  const fed = feed(parser, [`${response}HTTP/1.1 200 OK\r\n\r\n`], () => true);
  assert.equal(fed.ends, 1);
  assert.equal(fed.error, ParseError.UnexpectedBytes);
});
