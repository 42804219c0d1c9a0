/** Errors in the caller's dialect (design rule 9). Never an address, a secret or a stack. */
import { ERRORS, type OnehopError } from '../core/index.ts';
import type { UpstreamConfig } from './config/schema.ts';

export type Dialect = UpstreamConfig['protocol'];

/** Where no route says it, the path does: unknown paths below /v1 are called by OpenAI clients. */
export function dialectOfPath(path: string): Dialect {
  if (path.startsWith('/v1/')) return 'openai';
  return path.startsWith('/v2/') ? 'kserve-v2' : 'custom';
}

const OPENAI_TYPES: Record<number, string> = {
  400: 'invalid_request_error',
  404: 'invalid_request_error',
  405: 'invalid_request_error',
  413: 'invalid_request_error',
  429: 'rate_limit_error',
};

export interface ErrorFacts {
  readonly status: number;
  readonly code: string;
  readonly message: string;
  readonly phase: string | null;
  /** Configured name of the upstream; null when none was chosen. */
  readonly upstream: string | null;
  readonly requestId: string;
}

/** What a failed exchange tells its caller. */
export function errorFacts(
  error: OnehopError,
  upstream: string | null,
  requestId: string,
): ErrorFacts {
  const where = upstream === null || error.side === 'downstream' ? '' : `upstream ${upstream}: `;
  return {
    status: error.status,
    code: error.code,
    message: `${where}${ERRORS[error.code].help}`,
    phase: error.phase,
    upstream,
    requestId,
  };
}

/** The body, as JSON in latin1-safe ASCII. */
export function errorBody(dialect: Dialect, facts: ErrorFacts): string {
  const { status, code, message, phase, upstream, requestId } = facts;
  const details = phase === null ? message : `${message} (phase: ${phase})`;
  switch (dialect) {
    case 'openai':
      return ascii({
        error: {
          message: details,
          type: OPENAI_TYPES[status] ?? 'server_error',
          param: null,
          code: code.toLowerCase(),
        },
      });
    case 'kserve-v2':
      return ascii({ error: details });
    default:
      return ascii({ error: { code, message, phase, upstream, requestId } });
  }
}

const ascii = (value: unknown): string =>
  JSON.stringify(value).replace(
    /[\u007f-\uffff]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
