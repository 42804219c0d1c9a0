/** Turns a plan into request bytes that are ready to be written again and again. */
import { lookup } from 'node:dns/promises';
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
  readonly bytes: Uint8Array;
  readonly isHead: boolean;
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
      connect.tls = { rejectUnauthorized: !tls.insecure, alpnProtocols: ['http/1.1'] };
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

/** The bytes of one request. `host` and `content-length` are added unless given. */
export function requestBytes(
  plan: LoadPlan,
  origin: LoadOrigin,
  url: URL,
  method: string,
  body: Uint8Array | null,
): Uint8Array {
  let head = `${method} ${url.pathname}${url.search} HTTP/1.1\r\n`;
  const given = new Set<string>();
  for (const [name, value] of plan.headers) {
    if (!TOKEN.test(name)) throw new CliError(`"${name}" is not a header name`);
    if (/[\0\r\n]/.test(value)) throw new CliError(`the value of ${name} contains a line break`);
    given.add(name.toLowerCase());
  }
  if (!given.has('host')) head += `host: ${origin.hostHeader}\r\n`;
  for (const [name, value] of plan.headers) head += `${name}: ${value}\r\n`;
  const bodyLength = body?.length ?? 0;
  const expectsBody = bodyLength > 0 || method === 'POST' || method === 'PUT' || method === 'PATCH';
  if (expectsBody && !given.has('content-length')) head += `content-length: ${bodyLength}\r\n`;
  if (!plan.keepAlive && !given.has('connection')) head += 'connection: close\r\n';
  head += '\r\n';
  const headBytes = Buffer.from(head, 'utf8');
  return body === null ? headBytes : Buffer.concat([headBytes, body]);
}

/** Every request the plan may send: each URL with each body. */
export async function prepareRequests(
  plan: LoadPlan,
  origins: Origins,
): Promise<PreparedRequest[]> {
  if (!TOKEN.test(plan.method)) throw new CliError(`"${plan.method}" is not an HTTP method`);
  const prepared: PreparedRequest[] = [];
  for (const text of [plan.url, ...plan.moreUrls]) {
    const url = parseTarget(text);
    const origin = await origins.resolve(url);
    for (const body of plan.bodies.length > 0 ? plan.bodies : [plan.body]) {
      prepared.push({
        origin,
        url,
        bytes: requestBytes(plan, origin, url, plan.method, body),
        isHead: plan.method === 'HEAD',
      });
    }
  }
  return prepared;
}
