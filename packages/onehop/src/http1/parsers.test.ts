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

/** What a table says, with everything that is decided from it. */
const seen = ({ head }: RequestParser | ResponseParser): string =>
  JSON.stringify([
    head.rawPairs(),
    head.framing,
    head.contentLength,
    head.keepAlive,
    'path' in head ? [head.method, head.path, head.authority] : [head.status, head.reason],
  ]);

test('a head that comes again is recognised, wherever it stands, and reads like the first', () => {
  const text =
    'POST http://a.test/x?y=1 HTTP/1.1\r\nHost: a.test\r\nX-A: b\r\nContent-Length: 2\r\n\r\n';
  const parser = new RequestParser();
  const bytes = Buffer.from(`${text}hi${text}ho${text}he`, 'latin1');
  const heads: string[] = [];
  const repeated: boolean[] = [];
  let at = 0;
  let body = '';
  for (let messages = 0; messages < 3; ) {
    const read = parser.read(bytes, at, bytes.length);
    at = parser.position;
    if (read === Read.Head) {
      heads.push(seen(parser));
      repeated.push(parser.head.repeated);
    } else if (read === Read.Body) {
      body += bytes.toString('latin1', parser.bodyStart, parser.bodyEnd);
    } else {
      assert.equal(read, Read.End);
      messages++;
      parser.begin();
    }
  }
  assert.deepEqual(repeated, [false, true, true]);
  assert.deepEqual(heads, [heads[0], heads[0], heads[0]]);
  assert.equal(body, 'hihohe');
});

test('parsers that share a head keep it when one of them reads another', () => {
  const first = 'GET /first HTTP/1.1\r\nHost: a.test\r\n\r\n';
  const other = 'GET /other HTTP/1.1\r\nHost: a.test\r\n\r\n';
  const parsers = [new RequestParser(), new RequestParser()];
  const repeats = (parser: RequestParser, text: string): boolean => {
    const bytes = Buffer.from(text, 'latin1');
    parser.begin();
    assert.equal(parser.read(bytes, 0, bytes.length), Read.Head);
    assert.equal(parser.head.path, text.slice(4, 10));
    assert.equal(parser.read(bytes, bytes.length, bytes.length), Read.End);
    return parser.head.repeated;
  };
  for (const parser of parsers) {
    assert.deepEqual([repeats(parser, first), repeats(parser, first)], [false, true]);
  }
  assert.deepEqual([repeats(parsers[0]!, other), repeats(parsers[0]!, other)], [false, true]);
  assert.equal(repeats(parsers[1]!, first), true);
  assert.equal(repeats(parsers[1]!, other), false);
  assert.equal(repeats(parsers[0]!, first), false);
  // More kinds of heads than are kept in common.
  for (let kind = 10; kind < 40; kind++) {
    const one = `GET /k/${kind}/ HTTP/1.1\r\nHost: a.test\r\n\r\n`;
    for (const parser of parsers) {
      assert.deepEqual([repeats(parser, one), repeats(parser, one)], [false, true]);
    }
  }
});

test('what was derived from a head goes when another one comes', () => {
  const parser = new RequestParser();
  const ask = (text: string): unknown => {
    const bytes = Buffer.from(text, 'latin1');
    assert.equal(parser.read(bytes, 0, bytes.length), Read.Head);
    const { derived } = parser.head;
    parser.head.derived = text;
    assert.equal(parser.read(bytes, parser.position, bytes.length), Read.End);
    parser.begin();
    return derived;
  };
  const [a, b] = ['GET /a HTTP/1.1\r\nHost: x\r\n\r\n', 'GET /b HTTP/1.1\r\nHost: x\r\n\r\n'];
  assert.deepEqual([a, a, b, a, a].map(ask), [null, a, null, null, a]);
});

test('the same response head answers HEAD and GET differently', () => {
  const head = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n';
  const parser = new ResponseParser();
  const read = (text: string, isHead: boolean): number[] => {
    const bytes = Buffer.from(text, 'latin1');
    parser.begin(isHead);
    const found: number[] = [];
    for (let at = 0; found.at(-1) !== Read.End; at = parser.position) {
      found.push(parser.read(bytes, at, bytes.length));
    }
    return found;
  };
  for (const isHead of [false, false, true, true, false, true]) {
    assert.deepEqual(
      read(isHead ? head : `${head}ok`, isHead),
      isHead ? [Read.Head, Read.End] : [Read.Head, Read.Body, Read.End],
    );
  }
});

test('an interim head in front of a head that came before does not hide either', () => {
  const parser = new ResponseParser();
  const final = 'HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n';
  const early = 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n';
  for (const text of [final, final, early + final, final, early + final, final]) {
    parser.begin();
    const fed = feed(parser, [text]);
    assert.equal(fed.error, 0);
    assert.equal(fed.ends, 1);
    assert.deepEqual(fed.heads, text === final ? ['X-A|1'] : ['Link|</a>', 'X-A|1']);
  }
});

test('whole chunks are found exactly where reading finds whole plain chunks', () => {
  const head = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n';
  const cases: [string, number, string][] = [
    ['5\r\nhello\r\n', 5, 'hello'],
    ['05\r\nhello\r\n1\r\n\n\r\n', 6, '\n'],
    ['a\r\n0123456789\r\n', 10, '0123456789'],
    ['A\r\n0123456789\r\n', 10, '0123456789'],
    ['5;x=y\r\nhello\r\n', -1, ''],
    ['5\r\nhello\r\n0\r\n\r\n', -1, ''],
    ['5\r\nhello\r\n0\r\n', -1, ''],
    ['5\r\nhello\r', -1, ''],
    ['5\r\nhel', -1, ''],
    ['5\r', -1, ''],
    ['5', -1, ''],
    ['', -1, ''],
    ['\r\nhello\r\n', -1, ''],
    ['5\nhello\r\n', -1, ''],
    ['5\r\nhelloXX', -1, ''],
    ['5 \r\nhello\r\n', -1, ''],
    ['-5\r\nhello\r\n', -1, ''],
    ['0x5\r\nhello\r\n', -1, ''],
    ['00000005\r\nhello\r\n', -1, ''],
    ['fffffff\r\nhello\r\n', -1, ''],
    ['ffffffffffffff5\r\nhello\r\n', -1, ''],
  ];
  for (const [text, dataBytes, last] of cases) {
    const parser = new ResponseParser();
    parser.begin(false);
    assert.equal(feed(parser, [head]).heads.length, 1);
    // Behind it stands what would complete some of them: it must not be looked at.
    const bytes = Buffer.from(`${text}\r\n5\r\nhello\r\n`, 'latin1');
    assert.equal(parser.wholeChunks(bytes, 0, text.length), dataBytes, JSON.stringify(text));
    if (dataBytes > 0) {
      assert.equal(bytes.toString('latin1', parser.bodyStart, parser.bodyEnd), last);
      parser.takeChunks(dataBytes);
      assert.equal(parser.bodyBytes, dataBytes);
      assert.deepEqual(feed(parser, ['1\r\nx\r\n0\r\n\r\n']).body, 'x');
    }
  }
});

test('whole chunks are not found in the middle of one, beyond the bound or without chunks', () => {
  const parser = new ResponseParser();
  parser.begin(false);
  feed(parser, ['HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhe']);
  const chunk = Buffer.from('5\r\nhello\r\n', 'latin1');
  assert.equal(parser.wholeChunks(chunk, 0, chunk.length), -1);
  feed(parser, ['llo, yo\r\n']);
  assert.equal(parser.wholeChunks(chunk, 0, chunk.length), 5);
  parser.bodyBytesMax = 13;
  assert.equal(parser.wholeChunks(chunk, 0, chunk.length), -1);
  parser.bodyBytesMax = 14;
  assert.equal(parser.wholeChunks(chunk, 0, chunk.length), 5);
  const plain = new ResponseParser();
  plain.begin(false);
  feed(plain, ['HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n']);
  assert.equal(plain.wholeChunks(chunk, 0, chunk.length), -1);
});

test('endsWithin says for every cut of a message whether the rest of it is at hand', () => {
  const messages = [
    'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello',
    'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
    'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;x="\r"\r\n2\r\n0\r\nb: \r\n\r\n',
    'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n\r\n\r\n\r\n0\r\na: 1\r\nb: 2\r\n\r\n',
  ].map((text) => text.replace('"\r"', '"y"'));
  for (const text of messages) {
    const headEnd = text.indexOf('\r\n\r\n') + 4;
    for (let read = headEnd; read <= text.length; read++) {
      for (let held = read; held <= text.length; held++) {
        const parser = new RequestParser();
        feed(parser, [text.slice(0, read)]);
        const bytes = Buffer.from(`--${text.slice(read)}`, 'latin1');
        const where = JSON.stringify([text.slice(0, read), text.slice(read, held)]);
        assert.equal(parser.endsWithin(bytes, 2, 2 + held - read), held === text.length, where);
        // It has changed nothing, and more may stand behind.
        assert.equal(parser.endsWithin(bytes, 2, bytes.length), true, where);
        if (read < text.length) assert.equal(feed(parser, [text.slice(read)]).ends, 1, where);
      }
    }
  }
});
