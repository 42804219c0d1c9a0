import type { ErrorCode } from 'onehop/core';
import { CliError } from '../cli-error.ts';

/** The run cannot go on at all, for example because nothing listens there. */
export class LoadAbort extends CliError {}

const TEXTS: Partial<Record<ErrorCode, string>> = {
  RESOLVE_FAILED: 'host name not found',
  CONNECT_REFUSED: 'connection refused',
  CONNECT_FAILED: 'connection failed',
  TLS_FAILED: 'TLS handshake failed',
  UPSTREAM_CLOSED: 'connection closed before the response',
  UPSTREAM_RESET: 'connection reset',
  UPSTREAM_TRUNCATED: 'response ended early',
  RESPONSE_INVALID: 'invalid HTTP response',
  REDIRECT_FAILED: 'redirect failed',
};

/** How an error is named in `errorDistribution`. */
export function errorText(code: ErrorCode): string {
  return TEXTS[code] ?? code.toLowerCase().replaceAll('_', ' ');
}
