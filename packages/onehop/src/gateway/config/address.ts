/** Addresses a gateway listens on and targets it forwards to, as they are written in the file. */

export interface ListenAddress {
  readonly host: string;
  readonly port: number;
  /** Path of a Unix socket; host and port are then unused. */
  readonly path: string | null;
}

/** `8080`, `":8080"`, `"0.0.0.0:8080"`, `"[::]:8080"`, `"unix:/run/onehop.sock"`; null when invalid. */
export function parseListenAddress(value: string | number): ListenAddress | null {
  if (typeof value === 'number')
    return portOf(value) ? { host: '127.0.0.1', port: value, path: null } : null;
  if (value.startsWith('unix:')) {
    const path = value.slice('unix:'.length);
    return path.length > 0 ? { host: '', port: 0, path } : null;
  }
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s/]*)):(\d{1,5})$/.exec(value);
  if (match === null) {
    return /^\d{1,5}$/.test(value) ? parseListenAddress(Number(value)) : null;
  }
  const port = Number(match[3]);
  if (!portOf(port)) return null;
  const host = match[1] ?? match[2]!;
  return { host: host === '' ? '0.0.0.0' : host, port, path: null };
}

const portOf = (port: number): boolean => Number.isInteger(port) && port >= 0 && port <= 65535;

export interface TargetAddress {
  readonly scheme: 'http' | 'https';
  readonly host: string;
  readonly port: number;
  /** Unix socket path of `unix:/path`; host is then `localhost`. */
  readonly socketPath: string | null;
  /** Path prefix put before every forwarded path; empty or starting with `/`, never ending with it. */
  readonly pathPrefix: string;
  /** As written, without credentials, for logs. */
  readonly label: string;
}

/** Parses a target URL; a string answer is the reason why it is not one. */
export function parseTargetAddress(value: string): TargetAddress | string {
  if (value.startsWith('unix:')) {
    const path = value.slice('unix:'.length);
    if (!path.startsWith('/')) return 'the path of a Unix socket must be absolute';
    return {
      scheme: 'http',
      host: 'localhost',
      port: 80,
      socketPath: path,
      pathPrefix: '',
      label: value,
    };
  }
  if (!value.includes('://')) {
    const looksRight = /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?(\/\S*)?$/.test(value);
    const wanted = looksRight ? `did you mean http://${value}?` : 'write http://10.0.0.1:8000';
    return `not a URL; ${wanted}`;
  }
  const port = /^[a-z]+:\/\/[^/?#]*:(\d+)(?:[/?#]|$)/.exec(value)?.[1];
  if (port !== undefined && (Number(port) > 65_535 || Number(port) === 0)) {
    return `the port ${port} is not from 1 to 65535`;
  }
  let url: URL;
  try {
    url = new URL(value);
  } catch {
    return 'not a URL; write for example http://10.0.0.1:8000';
  }
  if (url.protocol === 'grpc:' || url.protocol === 'grpcs:') {
    return 'gRPC targets are not supported yet';
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    return `scheme ${url.protocol.slice(0, -1)} is not supported; use http or https`;
  }
  if (url.username !== '' || url.password !== '')
    return 'credentials do not belong in a target URL';
  if (url.search !== '' || url.hash !== '') return 'a target has no query and no fragment';
  const scheme = url.protocol === 'https:' ? 'https' : 'http';
  const host = url.hostname.startsWith('[') ? url.hostname.slice(1, -1) : url.hostname;
  const standard = scheme === 'https' ? 443 : 80;
  const pathPrefix = url.pathname.replace(/\/+$/, '');
  return {
    scheme,
    host,
    port: url.port === '' ? standard : Number(url.port),
    socketPath: null,
    pathPrefix,
    label: `${scheme}://${url.host}${pathPrefix}`,
  };
}
