import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  Connection,
  chunkHead,
  errorReply,
  errorReplyStatus,
  FieldBlock,
  Framing,
  HeadWriter,
  HopByHopFilter,
  isNominated,
  KNOWN_FIELD_NAMES,
  knownFieldOf,
  knownFieldOfName,
  PARSE_ERRORS,
  ParseError,
  Read,
  RequestParser,
  ResponseParser,
  TrailerWriter,
  writeChunkHead,
  writeInto,
} from './index.ts';

function parsedRequest(text: string): RequestParser {
  const parser = new RequestParser();
  const bytes = Buffer.from(text, 'latin1');
  assert.equal(parser.read(bytes, 0, bytes.length), Read.Head, `error ${parser.errorCode}`);
  return parser;
}

function parsedResponse(text: string, isHead = false, offersUpgrade = false): ResponseParser {
  const parser = new ResponseParser();
  parser.begin(isHead, false, offersUpgrade);
  const bytes = Buffer.from(text, 'latin1');
  assert.equal(parser.read(bytes, 0, bytes.length), Read.Head, `error ${parser.errorCode}`);
  return parser;
}

test('a request head is read back as it was meant', () => {
  const writer = new HeadWriter();
  writer.beginRequest('POST', '/a?b', 'a.test:81');
  writer.field('X-A', 'b\u00e9');
  writer.block(new FieldBlock(['accept', '*/*']));
  writer.acceptTrailers();
  const text = writer.end(Framing.Length, 5, Connection.Close);
  assert.equal(writer.errorCode, 0);
  const { head } = parsedRequest(text);
  assert.equal(head.method, 'POST');
  assert.equal(head.target, '/a?b');
  assert.equal(head.authority, 'a.test:81');
  assert.equal(head.contentLength, 5);
  assert.equal(head.keepAlive, false);
  assert.equal(head.get('x-a'), 'b\u00e9');
  assert.deepEqual(head.getAll('connection'), ['te, close']);
  const bytes = Buffer.alloc(text.length + 1);
  assert.equal(writeInto(bytes, 1, text), text.length + 1);
  assert.equal(bytes.toString('latin1', 1), text);
  assert.equal(writeInto(bytes, 2, text), -1);
});

test('nothing a caller passes can end a line or add one', () => {
  const writer = new HeadWriter();
  const bad = ['\r', '\n', '\0', '\r\nX: y', '\u0100', '\u010d\u010a', '\u007f', 'a\u000bb'];
  for (const text of bad) {
    writer.beginRequest('GET', '/', 'a.test');
    writer.field('x-a', `b${text}`);
    assert.equal(writer.end(Framing.None, 0, Connection.KeepAlive), '');
    assert.equal(writer.errorCode, ParseError.InvalidValue, JSON.stringify(text));
    writer.beginRequest('GET', '/', 'a.test');
    writer.field(`x${text}`, 'b');
    assert.equal(writer.end(Framing.None, 0, Connection.KeepAlive), '');
    assert.equal(writer.errorCode, ParseError.InvalidName, JSON.stringify(text));
    writer.beginRequest('GET', `/${text}`, 'a.test');
    assert.equal(writer.errorCode, ParseError.InvalidName, JSON.stringify(text));
    writer.beginRequest(`GET${text}`, '/', 'a.test');
    assert.equal(writer.errorCode, ParseError.InvalidName, JSON.stringify(text));
    writer.beginRequest('GET', '/', `a${text}`);
    assert.equal(writer.errorCode, ParseError.InvalidValue, JSON.stringify(text));
    writer.beginResponse(200, `OK${text}`);
    assert.equal(writer.errorCode, ParseError.InvalidValue, JSON.stringify(text));
    assert.equal(new FieldBlock(['x', text]).errorCode, ParseError.InvalidValue);
    assert.equal(new FieldBlock(['x', text]).text, '');
  }
  for (const host of ['', 'a b', 'a#b']) {
    writer.beginRequest('GET', '/', host);
    assert.equal(writer.errorCode, ParseError.InvalidValue, host);
  }
  for (const target of ['', '/a b', '/a#b', '/\u00e9']) {
    writer.beginRequest('GET', target, 'a.test');
    assert.equal(writer.errorCode, ParseError.InvalidName, target);
  }
  writer.beginRequest('GET', '/', 'a.test');
  writer.field('', 'x');
  assert.equal(writer.errorCode, ParseError.InvalidName);
});

test('framing and connection fields come from the writer alone', () => {
  const writer = new HeadWriter();
  const reserved = [
    'Content-Length',
    'transfer-encoding',
    'CONNECTION',
    'keep-alive',
    'proxy-connection',
    'te',
    'upgrade',
    'http2-settings',
    'host',
  ];
  for (const name of reserved) {
    writer.beginRequest('GET', '/', 'a.test');
    writer.field(name, '1');
    assert.equal(writer.errorCode, ParseError.ReservedField, name);
    assert.equal(writer.end(Framing.None, 0, Connection.KeepAlive), '', name);
  }
  writer.beginResponse(200);
  writer.field('host', 'a');
  assert.equal(writer.errorCode, 0, 'a response may carry any end-to-end field');
});

test('framing that does not fit the message is refused', () => {
  const writer = new HeadWriter();
  const request = (framing: Framing, length: number, connection: Connection): number => {
    writer.beginRequest('GET', '/', 'a.test');
    writer.end(framing, length, connection);
    return writer.errorCode;
  };
  const response = (
    status: number,
    framing: Framing,
    length: number,
    connection: Connection = Connection.KeepAlive,
    minor = 1,
  ): number => {
    writer.beginResponse(status, null, minor);
    writer.end(framing, length, connection);
    return writer.errorCode;
  };
  const bad = ParseError.InvalidFraming;
  assert.equal(request(Framing.None, 0, Connection.KeepAlive), 0);
  assert.equal(request(Framing.Length, -1, Connection.KeepAlive), bad);
  assert.equal(request(Framing.Length, 1.5, Connection.KeepAlive), bad);
  assert.equal(request(Framing.Length, Number.NaN, Connection.KeepAlive), bad);
  assert.equal(request(Framing.Length, 2 ** 53, Connection.KeepAlive), bad);
  assert.equal(request(Framing.Close, 0, Connection.Close), bad);
  assert.equal(request(Framing.Tunnel, 0, Connection.KeepAlive), bad);
  assert.equal(request(Framing.None, 0, Connection.Upgrade), bad, 'no protocol was named');
  assert.equal(response(200, Framing.Close, 0), 0);
  for (const status of [100, 103, 204]) {
    assert.equal(response(status, Framing.None, 0), 0);
    assert.equal(response(status, Framing.Length, 0), bad);
    assert.equal(response(status, Framing.Chunked, 0), bad);
  }
  assert.equal(response(101, Framing.None, 0), bad);
  assert.equal(response(304, Framing.Length, 5), 0);
  assert.equal(response(304, Framing.None, 0), 0);
  assert.equal(response(200, Framing.None, 0), bad, 'the peer would wait for the end');
  assert.equal(response(200, Framing.Chunked, 0, Connection.KeepAlive, 0), bad);
  assert.equal(response(103, Framing.None, 0, Connection.KeepAlive, 0), bad);
  for (const status of [99, 600, 200.5, Number.NaN]) {
    assert.equal(response(status, Framing.None, 0), bad, `${status}`);
  }
});

test('a response that is closed or upgraded says so', () => {
  const writer = new HeadWriter();
  writer.beginResponse(200);
  assert.equal(
    writer.end(Framing.Close, 0, Connection.KeepAlive),
    'HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n',
  );
  writer.beginResponse(299, 'Fine');
  writer.keepAliveTimeout(5);
  assert.equal(
    writer.end(Framing.Chunked, 0, Connection.KeepAlive),
    'HTTP/1.1 299 Fine\r\ntransfer-encoding: chunked\r\nkeep-alive: timeout=5\r\n\r\n',
  );
  writer.beginResponse(101);
  writer.upgrade('websocket');
  const { head } = parsedResponse(writer.end(Framing.Tunnel, 0, Connection.Upgrade), false, true);
  assert.equal(head.framing, Framing.Tunnel);
});

test('a forwarded head loses its hop-by-hop and nominated fields, and nothing else', () => {
  const parser = parsedRequest(
    'GET / HTTP/1.1\r\nHost: a.test\r\nConnection: X-Hop, close\r\nX-HOP: 1\r\nx-hop2: 2\r\n' +
      'Keep-Alive: timeout=5\r\nProxy-Connection: x\r\nTE: trailers\r\nUpgrade: x\r\n' +
      'HTTP2-Settings: x\r\nTransfer-Encoding: chunked\r\nA: 1\r\nB:\r\nA: 2\r\nCookie: c\r\n\r\n',
  );
  const filter = new HopByHopFilter();
  filter.apply(parser.head, parser.head.nominates);
  const writer = new HeadWriter();
  writer.beginRequest('GET', '/', 'b.test');
  const drop = new Uint8Array(64);
  drop[knownFieldOfName('cookie')] = 1;
  writer.copyEndToEnd(parser.head, filter, drop);
  const { head } = parsedRequest(writer.end(Framing.Chunked, 0, Connection.KeepAlive));
  assert.deepEqual(head.rawPairs(), [
    'host',
    'b.test',
    'x-hop2',
    '2',
    'A',
    '1',
    'B',
    '',
    'A',
    '2',
    'transfer-encoding',
    'chunked',
  ]);
  assert.equal(isNominated(parser.head, 'x-hop'), true);
  assert.equal(isNominated(parser.head, 'x-hop2'), false);
});

test('a single field is copied unless the writer owns it', () => {
  const { head } = parsedResponse('HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Length: 0\r\n\r\n');
  const writer = new HeadWriter();
  writer.beginResponse(200);
  writer.copy(head, 0);
  assert.equal(writer.errorCode, 0);
  writer.copy(head, 1);
  assert.equal(writer.errorCode, ParseError.ReservedField);
});

test('chunk heads in bytes and as strings agree up to 2^53 - 1', () => {
  const bytes = Buffer.alloc(32);
  for (let bit = 0; bit < 53; bit++) {
    for (const size of [2 ** bit - 1, 2 ** bit, 2 ** bit + 1]) {
      const end = writeChunkHead(bytes, 3, size);
      assert.equal(bytes.toString('latin1', 3, end), chunkHead(size));
    }
  }
  assert.equal(chunkHead(Number.MAX_SAFE_INTEGER), '1fffffffffffff\r\n');
});

test('trailers are written behind the last chunk; framing fields are refused', () => {
  const writer = new TrailerWriter();
  writer.begin();
  writer.field('grpc-status', '0');
  assert.equal(writer.end(), '0\r\ngrpc-status: 0\r\n\r\n');
  const cases: [string, string, ParseError][] = [
    ['content-length', '1', ParseError.ReservedField],
    ['Authorization', 'x', ParseError.ReservedField],
    ['a b', 'x', ParseError.InvalidName],
    ['a', 'x\r\n', ParseError.InvalidValue],
  ];
  for (const [name, value, error] of cases) {
    writer.begin();
    writer.field(name, value);
    assert.equal(writer.errorCode, error);
    assert.equal(writer.end(), '');
  }
});

test('known fields are found in any case, others and their neighbours are not', () => {
  for (let id = 1; id < KNOWN_FIELD_NAMES.length; id++) {
    const name = KNOWN_FIELD_NAMES[id]!;
    for (const text of [name, name.toUpperCase(), name[0]!.toUpperCase() + name.slice(1)]) {
      assert.equal(knownFieldOfName(text), id);
      assert.equal(knownFieldOf(Buffer.from(`x${text}:`), 1, text.length + 1), id);
    }
    for (let at = 0; at < name.length; at++) {
      const other = `${name.slice(0, at)}_${name.slice(at + 1)}`;
      assert.equal(knownFieldOfName(other), 0, other);
      assert.equal(knownFieldOf(Buffer.from(other), 0, other.length), 0, other);
    }
    // The Kelvin sign folds to k in Unicode; it must not here.
    if (name.includes('k')) assert.equal(knownFieldOfName(name.replace('k', '\u212a')), 0);
  }
  assert.equal(knownFieldOfName(''), 0);
});

test('every parse error has a row, a reply that closes, and a reply of the status it names', () => {
  for (const [name, code] of Object.entries(ParseError)) {
    assert.equal(PARSE_ERRORS[code]!.name, name);
    if (code === 0) continue;
    const text = Buffer.from(errorReply(code)).toString('latin1');
    const parser = parsedResponse(text);
    assert.equal(parser.head.status, errorReplyStatus(code));
    assert.equal(parser.head.keepAlive, false);
    assert.equal(text.length - parser.head.end, parser.head.contentLength);
  }
  assert.equal(PARSE_ERRORS.length, Object.keys(ParseError).length);
});
