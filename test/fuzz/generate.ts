/**
 * Messages that are mostly valid and wrong in interesting places: framing fields, chunk lines, line
 * ends, case, whitespace, duplicates, control bytes. All text is latin1.
 */
import type { Random } from './random.ts';

const METHODS = [
  'GET',
  'GET',
  'POST',
  'POST',
  'PUT',
  'HEAD',
  'DELETE',
  'OPTIONS',
  'PATCH',
  'CONNECT',
  'get',
  'PO ST',
  'M-SEARCH',
  '',
  'G\u00c9T',
];
const TARGETS = [
  '/',
  '/',
  '/a/b?c=d',
  '/%41%2f',
  '/%zz',
  '/%00',
  '/a#b',
  '/a b',
  '//x/',
  '/a|b',
  '/\u00e9',
  '*',
  'http://a.test/x',
  'HTTPS://a.test:8443?q',
  'http://u@a.test/',
  'http:///x',
  'ftp://a.test/',
  'a.test:80',
  'a.test:99999',
  '[::1]:80',
  '',
];
const VERSIONS = [
  'HTTP/1.1',
  'HTTP/1.1',
  'HTTP/1.1',
  'HTTP/1.1',
  'HTTP/1.1',
  'HTTP/1.1',
  'HTTP/1.0',
  'HTTP/1.2',
  'HTTP/2.0',
  'http/1.1',
  'HTTP/1.1 ',
  'HTTP/1',
];
const HOSTS = [
  'a.test',
  'a.test',
  'a.test',
  'a.test:80',
  'A.Test',
  '[::1]',
  '[::1]:8080',
  '[1:2:3:4:5:6:7:8]',
  '[1::2::3]',
  '[::1.2.3.4]',
  '[12345::]',
  'a.test:0',
  'a.test:',
  'a b',
  'u@a',
  '',
  'a,b',
];
const LENGTHS = ['0', '1', '3', '5', '5', '05', '+5', '-1', '5, 5', '', '0x5', '5 ', '1e1', '16'];
const ENCODINGS = [
  'chunked',
  'chunked',
  'chunked',
  'Chunked',
  'chunked ',
  'xchunked',
  'gzip, chunked',
  'chunked, gzip',
  'identity',
  '',
  'chunked\u000b',
  ',chunked',
  '"chunked"',
];
const CONNECTIONS = [
  'close',
  'keep-alive',
  'Close',
  'upgrade',
  'keep-alive, x-a',
  'te',
  'a b',
  'content-length',
  'x,close',
  '',
  '"close"',
];
const OTHERS = [
  'X-A: 1',
  'X-B:2',
  'Accept: */*',
  'X-Empty:',
  'X-Tabs: \t a\tb \t',
  'X-8: \u00e9\u00ff',
  'Cookie: a=b; c=d',
  '__proto__: 1',
  'Content_Length: 4',
  'X A: 1',
  ' X-Fold: 1',
  'X-A : 1',
  ': empty',
  'no-colon',
  'X-Nul: \u0000',
  'X-Bel: \u0007',
  'X(: 1',
  'Upgrade: websocket',
  'Expect: 100-continue',
  'Expect: x',
  'TE: trailers',
  'Trailer: X-T',
  'Keep-Alive: timeout=5',
];
const STATUSES = [
  '200 OK',
  '200 OK',
  '200 OK',
  '200 ',
  '204 No Content',
  '304 Not Modified',
  '404 Not Found',
  '500 X\u00e9',
  '100 Continue',
  '103 Early Hints',
  '101 Switching Protocols',
  '099 X',
  '600 X',
  '20 OK',
  '2000 OK',
  '200',
  '200  two',
];
const CHUNK_SIZES = ['g', '', '0x1', '-1', '1 ', ' 1', '00000000000000001', 'FFFFFFFFFFFFFFFF'];
const EXTENSIONS = [
  ';a',
  ';a=b',
  ';a="b;c"',
  ';a="\\""',
  ';',
  ';a=',
  ';a="b',
  ' ;a',
  ';a\u0000',
  ';a=b;c',
];
const TRAILERS = [
  'X-T: 1',
  'X-U:2',
  'Content-Length: 5',
  'Host: evil',
  'X-T',
  ' fold',
  'X-T : 1',
  ': x',
  'X-N: \u0000',
];
/** Bytes that mean something somewhere. */
const SPECIAL = '\r\n\r\n \t\u0000\u0001\u000b\u007f\u0080\u00ff:;,="\\/%#?@[]0159aAfFgGxX-_*';

function caseFlip(random: Random, text: string): string {
  switch (random.below(6)) {
    case 0:
      return text.toLowerCase();
    case 1:
      return text.toUpperCase();
    default:
      return text;
  }
}

function chunkedBody(random: Random, wild: boolean): string {
  let body = '';
  for (let left = random.below(4); left > 0; left--) {
    const data = 'abcdefghijklmnopqrst'.slice(0, 1 + random.below(18));
    let size = data.length.toString(16);
    if (random.oneIn(5)) size = size.toUpperCase();
    if (random.oneIn(8)) size = `0${size}`;
    if (wild && random.oneIn(10)) size = random.pick(CHUNK_SIZES);
    if (random.oneIn(5)) size += random.pick(EXTENSIONS.slice(0, wild ? undefined : 4));
    body += `${size}\r\n${data}${wild && random.oneIn(12) ? random.pick(['\n', '', '\rX', 'x\r\n']) : '\r\n'}`;
  }
  body += wild && random.oneIn(10) ? random.pick(['00', '0 ', '', '0;']) : '0';
  body += '\r\n';
  if (random.oneIn(4)) {
    const pool = wild ? TRAILERS : TRAILERS.slice(0, 4);
    for (let left = 1 + random.below(2); left > 0; left--) body += `${random.pick(pool)}\r\n`;
  }
  return `${body}\r\n`;
}

/** Framing fields and the body that goes with them, or does not. */
function framing(random: Random, fields: string[], wild: boolean): string {
  const plain = 'hello';
  switch (random.below(wild ? 7 : 4)) {
    case 0:
      return '';
    case 1:
    case 2: {
      const isChunked = random.oneIn(2);
      if (isChunked) {
        fields.push(`${caseFlip(random, 'Transfer-Encoding')}: chunked`);
        return chunkedBody(random, wild && random.oneIn(2));
      }
      fields.push(`${caseFlip(random, 'Content-Length')}: 5`);
      return plain;
    }
    case 3:
      fields.push('Content-Length: 0');
      return '';
    case 4:
      fields.push(`Content-Length: ${random.pick(LENGTHS)}`);
      return plain;
    case 5:
      fields.push(`${caseFlip(random, 'Transfer-Encoding')}: ${random.pick(ENCODINGS)}`);
      return chunkedBody(random, false);
    default:
      fields.push(`Content-Length: ${random.pick(LENGTHS)}`);
      fields.push(
        random.oneIn(2)
          ? `Transfer-Encoding: ${random.pick(ENCODINGS)}`
          : `content-length: ${random.pick(LENGTHS)}`,
      );
      return random.oneIn(2) ? plain : chunkedBody(random, false);
  }
}

function shuffle(random: Random, items: string[]): void {
  for (let i = items.length - 1; i > 0; i--) {
    const k = random.below(i + 1);
    [items[i], items[k]] = [items[k]!, items[i]!];
  }
}

function commonFields(random: Random, fields: string[], wild: boolean): void {
  const pool = wild && random.oneIn(2) ? OTHERS : OTHERS.slice(0, 9);
  for (let left = random.below(4); left > 0; left--) fields.push(random.pick(pool));
  if (random.oneIn(6)) {
    fields.push(`Connection: ${random.pick(wild ? CONNECTIONS : CONNECTIONS.slice(0, 6))}`);
  }
}

function request(random: Random, wild: boolean): string {
  const mild = !wild || !random.oneIn(3);
  const method = mild ? random.pick(METHODS.slice(0, 5)) : random.pick(METHODS);
  const target = mild ? random.pick(TARGETS.slice(0, 4)) : random.pick(TARGETS);
  const version = mild ? 'HTTP/1.1' : random.pick(VERSIONS);
  const fields: string[] = [];
  const hosts = wild && random.oneIn(4) ? HOSTS : HOSTS.slice(0, 5);
  if (!wild || !random.oneIn(12)) fields.push(`${caseFlip(random, 'Host')}: ${random.pick(hosts)}`);
  if (wild && random.oneIn(20)) fields.push('Host: b.test');
  commonFields(random, fields, wild);
  const body = framing(random, fields, wild);
  shuffle(random, fields);
  const empty = random.oneIn(20) ? '\r\n' : '';
  return `${empty}${method} ${target} ${version}\r\n${fields.map((line) => `${line}\r\n`).join('')}\r\n${body}`;
}

function response(random: Random, wild: boolean): string {
  const fields: string[] = [];
  const status =
    wild && random.oneIn(3) ? random.pick(STATUSES) : random.pick(STATUSES.slice(0, 8));
  const version = wild && random.oneIn(6) ? random.pick(VERSIONS) : 'HTTP/1.1';
  commonFields(random, fields, wild);
  const hasBody = !/^(1|204|304)/.test(status);
  const body = framing(random, fields, wild);
  shuffle(random, fields);
  const sent = hasBody || (wild && random.oneIn(4)) ? body : '';
  return `${version} ${status}\r\n${fields.map((line) => `${line}\r\n`).join('')}\r\n${sent}`;
}

/** One change anywhere: a byte, a line end, a line, a cut. */
function mutate(random: Random, text: string): string {
  const at = random.below(text.length + 1);
  const special = SPECIAL[random.below(SPECIAL.length)]!;
  switch (random.below(9)) {
    case 0:
      return text.slice(0, at) + special + text.slice(at);
    case 1:
      return text.slice(0, at) + text.slice(at + 1);
    case 2:
      return text.slice(0, at) + special + text.slice(at + 1);
    case 3: {
      const end = text.indexOf('\r\n', at);
      return end < 0
        ? text
        : text.slice(0, end) + random.pick(['\n', '\r', '\r\r\n']) + text.slice(end + 2);
    }
    case 4: {
      const lines = text.split('\r\n');
      const line = random.below(lines.length);
      lines.splice(line, 0, lines[random.below(lines.length)]!);
      return lines.join('\r\n');
    }
    case 5: {
      const lines = text.split('\r\n');
      lines.splice(random.below(lines.length), 1);
      return lines.join('\r\n');
    }
    case 6:
      return text.slice(0, at);
    case 7: {
      const char = text[at];
      if (char === undefined) return text;
      const flipped = char === char.toLowerCase() ? char.toUpperCase() : char.toLowerCase();
      return flipped.length === 1 && flipped.charCodeAt(0) < 256
        ? text.slice(0, at) + flipped + text.slice(at + 1)
        : text;
    }
    default:
      return text.slice(0, at) + String.fromCharCode(random.below(256)) + text.slice(at);
  }
}

/** One stream of one to three messages. */
export function generate(random: Random, kind: 'request' | 'response'): string {
  const make = kind === 'request' ? request : response;
  const wild = !random.oneIn(4);
  let text = make(random, wild);
  // The same again, as callers do: parsers have a short way for what they have just seen.
  if (random.oneIn(6)) text += text;
  if (random.oneIn(5)) text += make(random, wild);
  if (random.oneIn(20)) text = make(random, false) + text;
  if (wild && random.oneIn(2)) {
    for (let left = 1 + random.below(3); left > 0; left--) text = mutate(random, text);
  }
  return text;
}
