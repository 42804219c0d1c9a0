/** Random requests and answers for gateway-shortcuts.test.ts: often the same again, seldom broken. */
import type { Random } from '../fuzz/random.ts';

const requestFields = [
  '',
  '',
  'X-A: 1\r\n',
  'TE: trailers\r\nConnection: te\r\n',
  'Connection: x-a\r\nX-A: 1\r\n',
  'X-Request-Id: given\r\n',
  'X-Request-Id: {}\r\n',
  'X-Forwarded-For: 1.2.3.4\r\nVia: 1.1 a\r\n',
  'X_Forwarded_For: 6\r\n',
  'Max-Forwards: 3\r\n',
  'Traceparent: 00-1-2-01\r\n',
];

/** One request with its body; few heads, so that they repeat. */
export function makeRequest(random: Random): string {
  const path = random.pick([
    '/a',
    '/a',
    '/a',
    '/a',
    '/b?x=1',
    '/c',
    '/limited',
    '/a%2F',
    'http://h/a',
  ]);
  const fields = random.pick(requestFields);
  const more = random.oneIn(25) ? 'Connection: close\r\n' : fields;
  const version = random.oneIn(30) ? '1.0' : '1.1';
  const line = (method: string): string =>
    `${method} ${path} HTTP/${version}\r\nHost: ${random.pick(['h', 'h', 'h:1'])}\r\n${more}`;
  switch (random.below(8)) {
    case 0:
      return `${line('HEAD')}\r\n`;
    case 1:
      return `${line('POST')}Content-Length: 5\r\n\r\n${random.pick(['hello', 'xxxxx', 'GET /'])}`;
    case 2:
      return `${line('POST')}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n${random.pick(['', '2\r\nde\r\n'])}0\r\n\r\n`;
    case 3:
      return `${line('POST')}Content-Length: 5\r\nExpect: 100-continue\r\n\r\nhello`;
    case 4:
      return random.oneIn(3)
        ? `${line('OPTIONS')}Max-Forwards: 0\r\n\r\n`
        : `${line('DELETE')}Content-Length: 0\r\n\r\n`;
    default:
      return `${line('GET')}\r\n`;
  }
}

const eventParts = [
  'data: a\n\n',
  'data: bb\n\n',
  'data: c\n',
  'data: d\r\n\r\n',
  '\n',
  '\r\n',
  'data: [DONE]\n\n',
  'data: [DO',
  'NE]\n\n',
  ': x\n\n',
  'x',
];

interface Piece {
  bytes: string;
  /** Milliseconds before it. */
  afterMs: number;
}

export interface Answer {
  pieces: Piece[];
  /** How the connection goes on behind it. */
  then: 'stay' | 'end' | 'reset';
}

/** One chunk, now and then in another spelling, very rarely a broken one. */
function chunkOf(data: string, random: Random): string {
  const size = data.length.toString(16);
  if (random.oneIn(40)) return `00${size}\r\n${data}\r\n`;
  if (random.oneIn(60)) return `${size};a=b\r\n${data}\r\n`;
  if (random.oneIn(120)) return `${size}\n${data}\r\n`;
  if (random.oneIn(120)) return `${size}\r\n${data}\n`;
  if (random.oneIn(150)) return `1${'0'.repeat(7 + random.below(10))}\r\n${data}\r\n`;
  return `${size}\r\n${data}\r\n`;
}

/** Cuts a message into what is written at a time: at the seams of its parts, or anywhere. */
function cut(parts: string[], random: Random, slow: boolean): Piece[] {
  const pieces: Piece[] = [];
  const wild = random.oneIn(3);
  let text = '';
  const flush = (): void => {
    if (text !== '') {
      pieces.push({ bytes: text, afterMs: slow && random.oneIn(4) ? 30 + random.below(60) : 4 });
    }
    text = '';
  };
  for (const part of parts) {
    if (wild && part.length > 1 && random.oneIn(3)) {
      const at = 1 + random.below(part.length - 1);
      text += part.slice(0, at);
      flush();
      text += part.slice(at);
    } else text += part;
    if (!random.oneIn(3)) flush();
  }
  flush();
  return pieces;
}

/** One answer, cut into what is written at a time. */
export function makeAnswer(random: Random, isHead: boolean): Answer {
  const fields = random.pick(['', '', 'X-B: 2\r\n', 'X-Request-Id: theirs\r\n', 'Date: x\r\n']);
  const parts: string[] = [];
  if (random.oneIn(12)) parts.push('HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n');
  let then: Answer['then'] = random.oneIn(20) ? random.pick(['end', 'reset']) : 'stay';
  const kind = random.below(8);
  if (kind === 0)
    parts.push(`HTTP/1.1 ${random.pick(['204 No Content', '304 Not Modified'])}\r\n${fields}\r\n`);
  else if (kind === 1) {
    parts.push(`HTTP/1.1 200 OK\r\n${fields}Content-Length: 3\r\n\r\n`);
    if (!isHead) parts.push(random.pick(['abc', 'HTT']));
  } else if (kind === 2 && !isHead) {
    parts.push(`HTTP/1.1 200 OK\r\n${fields}\r\n`, 'until ', 'the end');
    then = 'end';
  } else {
    const events = random.below(3) > 0;
    const coded = random.oneIn(15) ? 'Content-Encoding: x\r\n' : '';
    const type = events ? `Content-Type: text/event-stream\r\n${coded}` : '';
    parts.push(`HTTP/1.1 200 OK\r\n${fields}${type}Transfer-Encoding: chunked\r\n\r\n`);
    if (!isHead) {
      for (let left = random.below(12); left > 0; left--) {
        const big = random.oneIn(20) ? 'y'.repeat(5000 + random.below(20_000)) : 'yy';
        parts.push(chunkOf(events ? random.pick(eventParts) : big, random));
      }
      parts.push(random.oneIn(6) ? '0\r\nX-Sum: 1\r\nX-Request-Id: no\r\n\r\n' : '0\r\n\r\n');
    }
  }
  const pieces = cut(parts, random, true);
  if (random.oneIn(15)) {
    pieces.length = random.below(pieces.length + 1);
    if (then === 'stay') then = random.pick(['end', 'reset']);
  }
  return { pieces, then };
}
