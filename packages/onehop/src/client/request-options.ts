import { OnehopError } from '../core/index.ts';
import { FieldBlock, parseErrorReason } from '../http1/index.ts';
import { type BodySource, isBodySource } from './body-pump.ts';
import { noFields } from './request-writer.ts';
import type { RequestBody, Timeouts } from './types.ts';

/** Header fields in any of the usual shapes. */
export type HeadersInput =
  | Readonly<Record<string, string | number | readonly string[] | undefined>>
  | Iterable<readonly [name: string, value: string]>;

/** What can be sent: bytes, text (UTF-8), a form, or pieces as they are made. */
export type BodyInput = string | Uint8Array | ArrayBuffer | URLSearchParams | BodySource;

/** Options of one request; what is left out comes from the client. */
export interface RequestOptions extends Partial<Timeouts> {
  headers?: HeadersInput | undefined;
  /** At most one of `body` and `json`. */
  body?: BodyInput | undefined;
  /** Sent as JSON with its content type. */
  json?: unknown;
  /** Exact length of a streamed body, bytes; without it the body goes chunked. */
  contentLength?: number | undefined;
  /** Query parameters, added to those of the URL. */
  query?: Readonly<Record<string, string | number | boolean>> | URLSearchParams | undefined;
  signal?: AbortSignal | undefined;
  /** Follow so many redirects. Default 0: a redirect is an answer like any other. */
  redirects?: number | undefined;
  /** Undo Content-Encoding (gzip, deflate, br, zstd where the runtime has it). Default false. */
  decompress?: boolean | undefined;
  /** Extra attempts after a failure that provably did no harm; see `decideRetry`. */
  retries?: number | undefined;
  /** The request may be repeated though its method does not say so. */
  idempotent?: boolean | undefined;
  /** Bound of a body that is collected or decompressed, bytes. */
  bodyBytesMax?: number | undefined;
}

/** A request body in the core's terms. */
export interface PreparedBody {
  readonly body: RequestBody;
  readonly source: BodySource | null;
  readonly contentType: string | null;
}

const NO_BODY: PreparedBody = { body: null, source: null, contentType: null };

/** Turns `body` or `json` into what the core sends. Errors: ARGUMENT_INVALID. */
export function prepareBody(options: RequestOptions): PreparedBody {
  const { body, json } = options;
  if (json !== undefined) {
    if (body !== undefined) throw invalid('give either body or json, not both');
    const text = JSON.stringify(json);
    if (text === undefined) throw invalid('json is not serialisable');
    return { body: text, source: null, contentType: 'application/json' };
  }
  if (body === undefined || body === null) return NO_BODY;
  if (typeof body === 'string') {
    return { body, source: null, contentType: 'text/plain;charset=UTF-8' };
  }
  if (body instanceof Uint8Array) return { body, source: null, contentType: null };
  if (body instanceof ArrayBuffer) {
    return { body: new Uint8Array(body), source: null, contentType: null };
  }
  if (body instanceof URLSearchParams) {
    return {
      body: body.toString(),
      source: null,
      contentType: 'application/x-www-form-urlencoded;charset=UTF-8',
    };
  }
  if (!isBodySource(body)) throw invalid('body is of a type that cannot be sent');
  const length = options.contentLength ?? null;
  if (length !== null && !(Number.isSafeInteger(length) && length >= 0)) {
    throw invalid('contentLength must be a whole number of bytes');
  }
  return { body: { length, keepsUnsent: true }, source: body, contentType: null };
}

export function invalid(message: string): OnehopError {
  return new OnehopError('ARGUMENT_INVALID', message, { phase: 'request' });
}

/** Header fields on their way to a {@link FieldBlock}: name, value, name, value ... */
export interface PreparedFields {
  readonly pairs: string[];
  host: string | undefined;
  close: boolean;
}

/** Fields that the core writes; a caller who sets them gets what they ask for by other means. */
const FRAMING = ['content-length', 'transfer-encoding', 'keep-alive', 'te', 'expect'];

/**
 * Reads headers in any shape. `Host` and `Connection: close` are taken out, as the core writes them;
 * Content-Length, Transfer-Encoding and the like are refused with ARGUMENT_INVALID.
 */
export function collectFields(headers: HeadersInput | undefined): PreparedFields {
  const fields: PreparedFields = { pairs: [], host: undefined, close: false };
  if (headers === undefined) return fields;
  if (Symbol.iterator in headers) {
    for (const [name, value] of headers as Iterable<readonly [string, string]>) {
      addField(fields, name, value);
    }
    return fields;
  }
  for (const name of Object.keys(headers)) {
    const value = (headers as Record<string, string | number | readonly string[] | undefined>)[
      name
    ];
    if (value === undefined) continue;
    if (typeof value === 'object') for (const each of value) addField(fields, name, each);
    else addField(fields, name, typeof value === 'string' ? value : String(value));
  }
  return fields;
}

function addField(fields: PreparedFields, name: string, value: string): void {
  const lower = name.toLowerCase();
  if (lower === 'host') fields.host = value;
  else if (lower === 'connection') {
    if (value.toLowerCase() === 'close') fields.close = true;
    else if (value.toLowerCase() !== 'keep-alive') throw invalid('Connection can only be close');
  } else if (FRAMING.includes(lower)) {
    throw invalid(`${name} is set by the client and cannot be given`);
  } else fields.pairs.push(name, value);
}

/** Whether the pairs hold a field of that lower-case name. */
export function hasField(pairs: readonly string[], lower: string): boolean {
  for (let i = 0; i < pairs.length; i += 2) if (pairs[i]!.toLowerCase() === lower) return true;
  return false;
}

/** Own pairs, and those of `defaults` that they do not replace. */
export function mergeFields(own: readonly string[], defaults: readonly string[]): string[] {
  if (defaults.length === 0) return [...own];
  const merged: string[] = [];
  for (let i = 0; i < defaults.length; i += 2) {
    if (!hasField(own, defaults[i]!.toLowerCase())) merged.push(defaults[i]!, defaults[i + 1]!);
  }
  merged.push(...own);
  return merged;
}

/** Checks fields. Errors: ARGUMENT_INVALID, which never repeats a value. */
export function fieldBlock(pairs: readonly string[]): FieldBlock {
  if (pairs.length === 0) return noFields;
  const block = new FieldBlock(pairs);
  if (block.errorCode !== 0)
    throw invalid(`a header is invalid: ${parseErrorReason(block.errorCode)}`);
  return block;
}
