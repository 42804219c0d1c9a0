/** What the runtime calls a failure, in the words of core/errors.ts. */
import { type ErrorCode, OnehopError } from '../core/index.ts';

interface SystemError extends Error {
  code?: string;
  syscall?: string;
}

/** For messages: `10.0.0.1:8000`, `[::1]:8000` or `unix:/path`. */
export function describeTarget(to: { host?: string; port?: number; path?: string }): string {
  if (to.path !== undefined) return `unix:${to.path}`;
  const host = to.host ?? '127.0.0.1';
  return host.includes(':') ? `[${host}]:${to.port ?? 0}` : `${host}:${to.port ?? 0}`;
}

/** A failure before `open`. `tls`: the connection was to be encrypted. */
export function connectError(cause: unknown, target: string, tls: boolean): OnehopError {
  const { code = '', syscall, message } = (cause ?? {}) as Partial<SystemError>;
  let known: ErrorCode = 'CONNECT_FAILED';
  // ENOENT: a Unix socket that is not there is, like a closed port, nobody listening.
  if (code === 'ECONNREFUSED' || (code === 'ENOENT' && target.startsWith('unix:'))) {
    known = 'CONNECT_REFUSED';
  } else if (code === 'ENOTFOUND' || code.startsWith('EAI_') || syscall === 'getaddrinfo') {
    known = 'RESOLVE_FAILED';
  } else if (tls && syscall !== 'connect') {
    known = 'TLS_FAILED';
  }
  return new OnehopError(known, `${target}: ${message ?? 'closed while connecting'}`, {
    phase: known === 'RESOLVE_FAILED' ? 'resolve' : 'connect',
    upstream: target,
    cause,
  });
}

/** A failure after `open`: whatever the errno, the bytes of this connection are lost. */
export function socketError(cause: unknown, target: string): OnehopError {
  if (cause instanceof OnehopError) return cause;
  const message = cause instanceof Error ? cause.message : String(cause);
  return new OnehopError('UPSTREAM_RESET', message, { phase: 'body', upstream: target, cause });
}

export function listenError(cause: unknown, target: string): OnehopError {
  const { code = '', message } = (cause ?? {}) as Partial<SystemError>;
  const inUse = code === 'EADDRINUSE';
  return new OnehopError(
    inUse ? 'ADDRESS_IN_USE' : 'LISTEN_FAILED',
    `cannot listen on ${target}: ${message ?? 'unknown reason'}`,
    { phase: 'config', cause },
  );
}

export function queueFullError(queuedBytes: number, target: string): OnehopError {
  return new OnehopError('SEND_QUEUE_FULL', `${queuedBytes} bytes wait to be sent to ${target}`, {
    phase: 'body',
    upstream: target,
  });
}
