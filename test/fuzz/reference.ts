/**
 * A slow parser that is meant to be obviously right: whole text in, strings, splits and regular
 * expressions. It shares nothing with the parsers it judges. It knows no limits except those that
 * decide meaning; the generated messages stay far below the others.
 */
import { isIPv6 } from 'node:net';

export interface ReferenceMessage {
  line: string;
  version: string;
  fields: string[];
  contentLength: number;
  keepAlive: boolean;
  upgrade: boolean;
  expectContinue: boolean;
  interim: boolean;
  body: string;
  trailers: string[];
}

export interface ReferenceResult {
  /** Complete messages. */
  messages: ReferenceMessage[];
  /** How the stream ends. */
  outcome: 'done' | 'incomplete' | 'refused';
}

export interface ReferenceExpected {
  isHead?: boolean;
  isConnect?: boolean;
  offersUpgrade?: boolean;
}

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** Field values: everything but controls; HTAB is allowed. */
const TEXT = '[^\\x00-\\x08\\x0a-\\x1f\\x7f]';
const VALUE = new RegExp(`^${TEXT}*$`);
const NAME = "[!#$%&'*+\\-.^_`|~0-9A-Za-z]+";
const QUOTED = `"(?:(?!["\\\\])${TEXT}|\\\\${TEXT})*"`;
const CHUNK_LINE = new RegExp(`^([0-9A-Fa-f]{1,16})(?:;${NAME}(?:=(?:${NAME}|${QUOTED}))?)*\\r$`);
const STATUS_LINE = new RegExp(`^HTTP/1\\.([01]) ([1-5][0-9]{2}) (${TEXT}*)$`);
const FORBIDDEN_TRAILERS = new Set(
  (
    'age alt-svc authorization cache-control connection content-disposition content-encoding ' +
    'content-language content-length content-location content-range content-type cookie date ' +
    'expect expires forwarded host http2-settings if-match if-modified-since if-none-match ' +
    'if-range if-unmodified-since keep-alive location max-forwards origin pragma proxy ' +
    'proxy-authenticate proxy-authorization proxy-connection range retry-after set-cookie te ' +
    'trailer transfer-encoding upgrade vary via www-authenticate x-forwarded-for ' +
    'x-forwarded-proto x-real-ip'
  ).split(' '),
);

const REQUEST_BODY_MAX = 64n * 1024n * 1024n;
const RESPONSE_BODY_MAX = (1n << 53n) - 1n;

class Refused extends Error {}
class Incomplete extends Error {}

const refuse = (): never => {
  throw new Refused();
};

const trim = (text: string): string => text.replace(/^[ \t]+|[ \t]+$/g, '');

/** Field lines, each without its CRLF, as [name, value]. */
function parseFields(lines: string[]): [string, string][] {
  return lines.map((line) => {
    const colon = line.indexOf(':');
    if (colon < 0) refuse();
    const name = line.slice(0, colon);
    const value = trim(line.slice(colon + 1));
    if (!TOKEN.test(name) || !VALUE.test(value)) refuse();
    return [name, value];
  });
}

/** Lines up to the empty one, and what follows. */
function takeSection(text: string, from: number): { lines: string[]; end: number } {
  const lines: string[] = [];
  let at = from;
  for (;;) {
    const end = text.indexOf('\r\n', at);
    if (end < 0) throw new Incomplete();
    const line = text.slice(at, end);
    if (/[\r\n]/.test(line)) refuse();
    at = end + 2;
    if (line === '') return { lines, end: at };
    lines.push(line);
  }
}

const valuesOf = (fields: [string, string][], name: string): string[] =>
  fields.filter(([key]) => key.toLowerCase() === name).map(([, value]) => value);

function isHost(text: string, needsPort: boolean): boolean {
  const match = /^(\[[^\]]*\]|[A-Za-z0-9._~-]+)(?::([0-9]*))?$/.exec(text);
  if (match === null) return false;
  const [, host, port] = match;
  if (host!.startsWith('[') && (!isIPv6(host!.slice(1, -1)) || host!.includes('%'))) return false;
  if (port === undefined || port === '') return !needsPort;
  return Number(port) >= 1 && Number(port) <= 65535;
}

function isPath(text: string): boolean {
  const [, path, query] = /^([^?]*)(.*)$/.exec(text)!;
  return (
    /^(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})*$/.test(path!) &&
    /^(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/?^`{|}\\[\]]|%[0-9A-Fa-f]{2})*$/.test(query!) &&
    !/%00/.test(text)
  );
}

function isTargetFor(method: string, target: string): boolean {
  if (method === 'CONNECT') return isHost(target, true);
  if (target === '*') return method === 'OPTIONS';
  if (target.startsWith('/')) return isPath(target);
  const match = /^https?:\/\/([^/?]*)(.*)$/i.exec(target);
  return match !== null && isHost(match[1]!, false) && isPath(match[2]!);
}

interface Options {
  close: boolean;
  upgrade: boolean;
  framing: boolean;
}

function connectionOptions(fields: [string, string][]): Options {
  const tokens: string[] = [];
  for (const value of valuesOf(fields, 'connection')) {
    const members = value
      .split(',')
      .map(trim)
      .filter((member) => member !== '');
    for (const member of members) {
      if (!TOKEN.test(member)) refuse();
      tokens.push(member.toLowerCase());
    }
  }
  if (tokens.length > 64) refuse();
  return {
    close: tokens.includes('close'),
    upgrade: tokens.includes('upgrade'),
    framing: ['host', 'content-length', 'transfer-encoding'].some((name) => tokens.includes(name)),
  };
}

/** -1 none, -2 chunked, else the length. */
function framingOf(fields: [string, string][], version: string): number {
  const lengths = valuesOf(fields, 'content-length');
  const encodings = valuesOf(fields, 'transfer-encoding');
  if (encodings.length + lengths.length > 1) refuse();
  if (encodings.length === 1) {
    if (version === '1.0' || encodings[0]!.toLowerCase() !== 'chunked') refuse();
    return -2;
  }
  if (lengths.length === 0) return -1;
  if (!/^[0-9]{1,15}$/.test(lengths[0]!)) refuse();
  return Number(lengths[0]);
}

/** A chunked body from `from`: data, trailers and where it ends. */
function takeChunked(
  text: string,
  from: number,
  bodyMax: bigint,
): { body: string; trailers: string[]; end: number } {
  let at = from;
  let body = '';
  for (;;) {
    const end = text.indexOf('\n', at);
    if (end < 0) throw new Incomplete();
    const match = CHUNK_LINE.exec(text.slice(at, end));
    if (match === null) return refuse();
    const size = BigInt(`0x${match[1]}`);
    if (BigInt(body.length) + size > bodyMax) refuse();
    at = end + 1;
    const length = Number(size);
    if (length === 0) break;
    if (text.length < at + length) throw new Incomplete();
    body += text.slice(at, at + length);
    at += length;
    const behind = text.slice(at, at + 2);
    if (behind !== '\r\n') {
      if ('\r\n'.startsWith(behind)) throw new Incomplete();
      refuse();
    }
    at += 2;
  }
  const section = takeSection(text, at);
  const trailers = parseFields(section.lines)
    .filter(([name]) => !FORBIDDEN_TRAILERS.has(name.toLowerCase()))
    .flat();
  return { body, trailers, end: section.end };
}

interface Step {
  message: ReferenceMessage;
  end: number;
  /** Nothing after this is a message. */
  last: boolean;
}

function takeBody(
  text: string,
  from: number,
  framing: number,
  bodyMax: bigint,
): { body: string; trailers: string[]; end: number } {
  if (framing === -2) return takeChunked(text, from, bodyMax);
  if (framing < 0) return { body: '', trailers: [], end: from };
  if (text.length < from + framing) throw new Incomplete();
  return { body: text.slice(from, from + framing), trailers: [], end: from + framing };
}

function takeRequest(text: string, from: number): Step {
  let at = from;
  if (text.startsWith('\r\n', at)) at += 2;
  const section = takeSection(text, at);
  const [first, ...rest] = section.lines;
  if (first === undefined) return refuse();
  const match = /^([^ ]+) ([^ ]+) HTTP\/1\.([01])$/.exec(first);
  if (match === null) return refuse();
  const [, method, target, minor] = match;
  if (!TOKEN.test(method!) || method!.length > 32) refuse();
  const version = `1.${minor}`;
  const fields = parseFields(rest);
  if (fields.length > 100 || !isTargetFor(method!, target!)) refuse();
  const hosts = valuesOf(fields, 'host');
  if (hosts.length > 1 || (hosts.length === 0 && version === '1.1')) refuse();
  if (hosts.length === 1 && !isHost(hosts[0]!, false)) refuse();
  const framing = framingOf(fields, version);
  const options = connectionOptions(fields);
  if (options.framing) refuse();
  const hasBody = framing === -2 || framing > 0;
  const expects = valuesOf(fields, 'expect');
  if (version === '1.1' && expects.length > 0) {
    if (expects.length > 1 || expects[0]!.toLowerCase() !== '100-continue') refuse();
  }
  if (BigInt(framing) > REQUEST_BODY_MAX) refuse();
  const { body, trailers, end } = takeBody(text, section.end, framing, REQUEST_BODY_MAX);
  const keepAlive = version === '1.1' && !options.close;
  const message: ReferenceMessage = {
    line: `${method} ${target}`,
    version,
    fields: fields.flat(),
    contentLength: framing >= 0 ? framing : -1,
    keepAlive,
    upgrade:
      options.upgrade && version === '1.1' && !hasBody && valuesOf(fields, 'upgrade').length > 0,
    expectContinue: version === '1.1' && expects.length > 0 && hasBody,
    interim: false,
    body,
    trailers,
  };
  return { message, end, last: !keepAlive };
}

function takeResponse(text: string, from: number, expected: ReferenceExpected): Step {
  const section = takeSection(text, from);
  const [first, ...rest] = section.lines;
  const match = STATUS_LINE.exec(first ?? '');
  if (match === null) return refuse();
  const version = `1.${match[1]}`;
  const status = Number(match[2]);
  const fields = parseFields(rest);
  if (fields.length > 100) refuse();
  const options = connectionOptions(fields);
  const upgrade = options.upgrade && valuesOf(fields, 'upgrade').length > 0;
  const message: ReferenceMessage = {
    line: `${status}`,
    version,
    fields: fields.flat(),
    contentLength: -1,
    keepAlive: version === '1.1' && !options.close,
    upgrade,
    expectContinue: false,
    interim: status < 200 && status !== 101,
    body: '',
    trailers: [],
  };
  if (message.interim) return { message, end: section.end, last: false };
  if (status === 101 && (expected.offersUpgrade !== true || !upgrade)) refuse();
  if (status === 101 || (expected.isConnect === true && status < 300)) {
    return { message, end: section.end, last: true };
  }
  const framing = framingOf(fields, version);
  message.contentLength = framing >= 0 ? framing : -1;
  if (expected.isHead === true || status === 204 || status === 304) {
    if (status === 204 && (framing === -2 || framing > 0)) message.keepAlive = false;
    return { message, end: section.end, last: !message.keepAlive };
  }
  if (framing === -1) {
    message.keepAlive = false;
    message.body = text.slice(section.end);
    return { message, end: text.length, last: true };
  }
  const { body, trailers, end } = takeBody(text, section.end, framing, RESPONSE_BODY_MAX);
  message.body = body;
  message.trailers = trailers;
  return { message, end, last: !message.keepAlive };
}

/** An empty line before a request that never comes is nothing. */
const isEmptyLine = (kind: string, text: string, at: number): boolean =>
  kind === 'request' && text.slice(at) === '\r\n';

/** Parses a whole stream. For responses, `expected` has one entry for each request sent. */
export function parseReference(
  kind: 'request' | 'response',
  text: string,
  expected: readonly ReferenceExpected[] = [],
): ReferenceResult {
  const messages: ReferenceMessage[] = [];
  let at = 0;
  let turn = 0;
  let interims = 0;
  try {
    while (at < text.length && !isEmptyLine(kind, text, at)) {
      if (kind === 'response' && turn >= expected.length) return { messages, outcome: 'done' };
      const step =
        kind === 'request' ? takeRequest(text, at) : takeResponse(text, at, expected[turn]!);
      if (step.message.interim) {
        if (++interims > 16) refuse();
      } else {
        interims = 0;
        turn++;
      }
      messages.push(step.message);
      at = step.end;
      if (step.last) return { messages, outcome: 'done' };
    }
  } catch (error) {
    if (error instanceof Refused) return { messages, outcome: 'refused' };
    if (error instanceof Incomplete) return { messages, outcome: 'incomplete' };
    throw error;
  }
  // An interim response promises a final one.
  return { messages, outcome: interims > 0 ? 'incomplete' : 'done' };
}
