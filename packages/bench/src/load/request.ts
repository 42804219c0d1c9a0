/** Turns a plan into request bytes that are ready to be written again and again. */
import { lookup } from 'node:dns/promises';
import type { OutgoingHttpHeaders } from 'node:http2';
import { isIP } from 'node:net';
import type { ConnectOptions } from 'onehop/transport';
import { CliError } from '../cli-error.ts';
import type { LoadPlan } from './types.ts';

/** Where connections of one scheme, host and port go. */
export interface LoadOrigin {
  readonly key: string;
  readonly connect: ConnectOptions;
  readonly hostHeader: string;
}

export interface PreparedRequest {
  readonly origin: LoadOrigin;
  readonly url: URL;
  readonly isHead: boolean;
  /** The whole message of HTTP/1.1; empty with HTTP/2. */
  readonly bytes: Uint8Array;
  /** The fields and the body of HTTP/2; null with HTTP/1.1. */
  readonly http2: Http2Message | null;
}

export interface Http2Message {
  readonly fields: OutgoingHttpHeaders;
  readonly body: Uint8Array | null;
}

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

/** Parses an http or https URL. @throws CliError in one sentence. */
export function parseTarget(text: string): URL {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw new CliError(`"${text}" is not a URL; give one such as http://127.0.0.1:8000/`);
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw new CliError(`"${text}" does not start with http:// or https://`);
  }
  return url;
}

const portOf = (url: URL): number =>
  url.port === '' ? (url.protocol === 'https:' ? 443 : 80) : Number(url.port);

/** Resolves and remembers origins, so that nothing is looked up while the clock runs. */
export class Origins {
  private readonly known = new Map<string, LoadOrigin>();
  private readonly plan: LoadPlan;
  /** What resolving names took, in ms. */
  lookupMs = 0;

  constructor(plan: LoadPlan) {
    this.plan = plan;
  }

  /** The origin of a URL when it was resolved before, else null. */
  peek(url: URL): LoadOrigin | null {
    return this.known.get(url.origin) ?? null;
  }

  async resolve(url: URL): Promise<LoadOrigin> {
    const found = this.known.get(url.origin);
    if (found !== undefined) return found;
    const { tls, unixSocket } = this.plan;
    const name = url.hostname.replace(/^\[|\]$/g, '');
    const connect: ConnectOptions = {};
    if (unixSocket !== null) connect.path = unixSocket;
    else {
      let host = name;
      let port = portOf(url);
      const override = this.plan.connectTo.find(
        (rule) =>
          (rule.host === '' || rule.host === name) && (rule.port === 0 || rule.port === port),
      );
      if (override !== undefined) {
        host = override.toHost === '' ? host : override.toHost;
        port = override.toPort === 0 ? port : override.toPort;
      }
      connect.host = await this.addressOf(host);
      connect.port = port;
    }
    if (url.protocol === 'https:') {
      connect.tls = {
        rejectUnauthorized: !tls.insecure,
        alpnProtocols: [this.plan.http2 ? 'h2' : 'http/1.1'],
      };
      if (isIP(name) === 0) connect.tls.serverName = name;
      if (tls.ca !== null) connect.tls.ca = tls.ca;
      if (tls.cert !== null) connect.tls.cert = tls.cert;
      if (tls.key !== null) connect.tls.key = tls.key;
    }
    const origin = { key: url.origin, connect, hostHeader: url.host };
    this.known.set(url.origin, origin);
    return origin;
  }

  private async addressOf(host: string): Promise<string> {
    if (isIP(host) !== 0) return host;
    const before = performance.now();
    try {
      const { address } = await lookup(host, { family: this.plan.ipFamily });
      return address;
    } catch {
      throw new CliError(`cannot resolve the host name ${host}`);
    } finally {
      this.lookupMs += performance.now() - before;
    }
  }
}

/** Refuses what is no header. */
function checkHeaders(headers: LoadPlan['headers']): void {
  for (const [name, value] of headers) {
    if (!TOKEN.test(name)) throw new CliError(`"${name}" is not a header name`);
    if (/[\0\r\n]/.test(value)) throw new CliError(`the value of ${name} contains a line break`);
  }
}

const expectsBody = (method: string, bodyLength: number): boolean =>
  bodyLength > 0 || method === 'POST' || method === 'PUT' || method === 'PATCH';

/** The bytes of one request. `host` and `content-length` are added unless given. */
function http1Bytes(
  plan: LoadPlan,
  origin: LoadOrigin,
  url: URL,
  method: string,
  body: Uint8Array | null,
): Uint8Array {
  let head = `${method} ${url.pathname}${url.search} HTTP/1.1\r\n`;
  const given = new Set(plan.headers.map(([name]) => name.toLowerCase()));
  if (!given.has('host')) head += `host: ${origin.hostHeader}\r\n`;
  for (const [name, value] of plan.headers) head += `${name}: ${value}\r\n`;
  const bodyLength = body?.length ?? 0;
  if (expectsBody(method, bodyLength) && !given.has('content-length')) {
    head += `content-length: ${bodyLength}\r\n`;
  }
  if (!plan.keepAlive && !given.has('connection')) head += 'connection: close\r\n';
  head += '\r\n';
  const headBytes = Buffer.from(head, 'utf8');
  return body === null ? headBytes : Buffer.concat([headBytes, body]);
}

/** Fields that speak of one connection; RFC 9113 section 8.2.2 forbids them. */
const connectionFields = new Set([
  'connection',
  'http2-settings',
  'keep-alive',
  'proxy-connection',
  'te',
  'transfer-encoding',
  'upgrade',
]);

/** The fields of one request. `content-length` is added unless given; `host` is the authority. */
function http2Message(
  plan: LoadPlan,
  origin: LoadOrigin,
  url: URL,
  method: string,
  body: Uint8Array | null,
): Http2Message {
  const fields: Record<string, string | string[]> = {
    ':method': method,
    ':scheme': url.protocol.slice(0, -1),
    ':authority': origin.hostHeader,
    ':path': url.pathname + url.search,
  };
  for (const [written, value] of plan.headers) {
    const name = written.toLowerCase();
    if (connectionFields.has(name)) {
      throw new CliError(`the header ${written} does not exist in HTTP/2`);
    }
    const before = fields[name];
    if (name === 'host') fields[':authority'] = value;
    else if (before === undefined) fields[name] = value;
    else fields[name] = [before, value].flat();
  }
  const bodyLength = body?.length ?? 0;
  if (expectsBody(method, bodyLength)) fields['content-length'] ??= String(bodyLength);
  return { fields, body: bodyLength === 0 ? null : body };
}

const noBytes = new Uint8Array(0);

function prepare(
  plan: LoadPlan,
  origin: LoadOrigin,
  url: URL,
  method: string,
  body: Uint8Array | null,
): PreparedRequest {
  const isHead = method === 'HEAD';
  return plan.http2
    ? { origin, url, isHead, bytes: noBytes, http2: http2Message(plan, origin, url, method, body) }
    : { origin, url, isHead, bytes: http1Bytes(plan, origin, url, method, body), http2: null };
}

/** Every request the plan may send: each URL with each body. */
export async function prepareRequests(
  plan: LoadPlan,
  origins: Origins,
): Promise<PreparedRequest[]> {
  if (!TOKEN.test(plan.method)) throw new CliError(`"${plan.method}" is not an HTTP method`);
  checkHeaders(plan.headers);
  const prepared: PreparedRequest[] = [];
  for (const text of [plan.url, ...plan.moreUrls]) {
    const url = parseTarget(text);
    const origin = await origins.resolve(url);
    if (plan.http2 && origin !== (prepared[0]?.origin ?? origin)) {
      throw new CliError('with HTTP/2 all URLs must have the same scheme, host and port');
    }
    for (const body of plan.bodies.length > 0 ? plan.bodies : [plan.body]) {
      prepared.push(prepare(plan, origin, url, plan.method, body));
    }
  }
  return prepared;
}

/** Where an answer sends a request on to, and the request once that is resolved; null: nowhere. */
export function redirectOf(
  plan: LoadPlan,
  from: PreparedRequest,
  status: number,
  location: string,
): { url: URL; to(origin: LoadOrigin): PreparedRequest } | null {
  let url: URL;
  try {
    url = parseTarget(new URL(location, from.url).href);
  } catch {
    return null;
  }
  // RFC 9110 section 15.4: 303 asks for GET; browsers and oha do so for 301 and 302 to POST too.
  const isGet = status === 303 || (status <= 302 && plan.method === 'POST');
  const method = isGet && !from.isHead ? 'GET' : plan.method;
  const body = method === plan.method ? plan.body : null;
  return { url, to: (origin) => prepare(plan, origin, url, method, body) };
}
