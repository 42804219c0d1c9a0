/** HTTP proxies, used only when asked for. */
import { OnehopError } from '../core/index.ts';
import type { OriginAddress, ProxyAddress } from './types.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** Reads `http://user:password@host:port`. Errors: ARGUMENT_INVALID, without repeating the text. */
export function parseProxy(text: string): ProxyAddress {
  let url: URL;
  try {
    url = new URL(text.includes('://') ? text : `http://${text}`);
  } catch {
    throw new OnehopError('ARGUMENT_INVALID', 'the proxy is not a valid URL', { phase: 'config' });
  }
  if (url.protocol !== 'http:') {
    throw new OnehopError('UNSUPPORTED', `proxies are spoken to over http, not ${url.protocol}`, {
      phase: 'config',
    });
  }
  let authorization: string | null = null;
  if (url.username !== '' || url.password !== '') {
    const user = `${unescaped(url.username)}:${unescaped(url.password)}`;
    authorization = `Basic ${Buffer.from(user).toString('base64')}`;
  }
  const host = url.hostname.startsWith('[') ? url.hostname.slice(1, -1) : url.hostname;
  return { host, port: url.port === '' ? 80 : Number(url.port), authorization };
}

/** Undoes percent-encoding; a percent sign that escapes nothing is meant as it stands. */
function unescaped(text: string): string {
  return text.replace(/(?:%[\da-f]{2})+/gi, (escaped) => {
    try {
      return decodeURIComponent(escaped);
    } catch {
      return escaped;
    }
  });
}

/**
 * The proxy that the environment names for an origin, or null. `HTTPS_PROXY` for https, `HTTP_PROXY`
 * for http, else `ALL_PROXY`; lower case goes first. Upper-case `HTTP_PROXY` is ignored in a CGI
 * (`REQUEST_METHOD` is set), where a caller's Proxy header would set it.
 */
export function proxyFromEnvironment(
  address: OriginAddress,
  environment: Environment = process.env,
): ProxyAddress | null {
  if (isExempt(address, environment['no_proxy'] ?? environment['NO_PROXY'] ?? '')) return null;
  const upper = environment['REQUEST_METHOD'] === undefined ? environment['HTTP_PROXY'] : undefined;
  const own =
    address.scheme === 'https'
      ? (environment['https_proxy'] ?? environment['HTTPS_PROXY'])
      : (environment['http_proxy'] ?? upper);
  const text = own ?? environment['all_proxy'] ?? environment['ALL_PROXY'];
  return text === undefined || text === '' ? null : parseProxy(text);
}

/**
 * Whether a `NO_PROXY` list names the origin: `*`, a name with or without leading dot (its
 * sub-domains included), an address, each optionally with a port.
 */
export function isExempt(address: OriginAddress, list: string): boolean {
  const host = address.host.toLowerCase();
  for (const part of list.split(',')) {
    let entry = part.trim().toLowerCase();
    if (entry === '') continue;
    if (entry === '*') return true;
    const port = /^(.*?):(\d+)$/.exec(entry);
    const isBareIpv6 = entry.split(':').length > 2 && !entry.startsWith('[');
    if (port !== null && !isBareIpv6) {
      if (Number(port[2]) !== address.port) continue;
      entry = port[1]!;
    }
    if (entry.startsWith('[') && entry.endsWith(']')) entry = entry.slice(1, -1);
    if (entry.startsWith('*.')) entry = entry.slice(1);
    const name = entry.startsWith('.') ? entry.slice(1) : entry;
    if (host === name || host.endsWith(`.${name}`)) return true;
  }
  return false;
}
