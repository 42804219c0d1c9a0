/** Headers of the fetch face: of responses, as real `Headers` show them, and of requests, checked. */
import { OnehopError } from '../core/index.ts';
import { isToken } from '../http1/index.ts';
import { inspectWith, pickUp } from './fetch-web.ts';
import type { ResponseHeaders } from './headers.ts';

/** Names, lower case, that mean something to the client itself; all others pass. */
const SPECIAL: ReadonlySet<string> = new Set([
  'host',
  'connection',
  'content-length',
  'expect',
  'content-type',
  'accept',
  'accept-encoding',
  'user-agent',
]);

/** The header fields of a request. */
export interface FetchFields {
  readonly pairs: string[];
  /** The special ones among the names, lower case. */
  readonly seen: string[];
  host: string | undefined;
  close: boolean;
  /** Content-Length as given, or -1. */
  contentLength: number;
}

function refused(name: string, reason: string): TypeError {
  const cause = new OnehopError('ARGUMENT_INVALID', `${name}: ${reason}`, { phase: 'request' });
  return new TypeError('fetch failed', { cause });
}

function add(fields: FetchFields, name: string, given: unknown): void {
  const value = trim(typeof given === 'string' ? given : String(given));
  if (name.length <= 15) {
    const lower = name.toLowerCase();
    if (SPECIAL.has(lower)) {
      switch (lower) {
        case 'host':
          fields.host = value;
          return;
        case 'connection':
          if (value.toLowerCase() === 'close') fields.close = true;
          else if (value.toLowerCase() !== 'keep-alive')
            throw refused(name, 'only close is possible');
          return;
        case 'expect':
          throw refused(name, 'the client does not wait for 100 Continue');
        case 'content-length':
          if (!/^\d{1,15}$/.test(value)) throw refused(name, 'not a number');
          fields.contentLength = Number(value);
          return;
        default:
          fields.seen.push(lower);
      }
    }
  }
  fields.pairs.push(name, value);
}

/** Without the white space that the standard takes off ("normalize a header value"). */
function trim(value: string): string {
  let from = 0;
  let to = value.length;
  while (from < to && isSpace(value.charCodeAt(from))) from++;
  while (to > from && isSpace(value.charCodeAt(to - 1))) to--;
  return from === 0 && to === value.length ? value : value.slice(from, to);
}

const isSpace = (c: number): boolean => c === 32 || c === 9 || c === 10 || c === 13;

/**
 * Reads `HeadersInit` in each of its shapes. Throws a TypeError for what is none; names and values are
 * checked where the fields are put together.
 */
export function collectFetchFields(headers: unknown): FetchFields {
  const fields: FetchFields = {
    pairs: [],
    seen: [],
    host: undefined,
    close: false,
    contentLength: -1,
  };
  if (headers === undefined || headers === null) return fields;
  if (typeof headers !== 'object') throw new TypeError('headers must be an object or a sequence');
  if (headers instanceof Headers) {
    // On Bun a fraction of what iterating costs.
    headers.forEach((value, name) => {
      add(fields, name, value);
    });
    return fields;
  }
  if (Symbol.iterator in headers) {
    for (const pair of headers as Iterable<unknown>) {
      const entry = Array.isArray(pair) ? pair : isIterable(pair) ? [...pair] : [];
      if (entry.length !== 2) throw new TypeError('a header must be a pair of name and value');
      add(fields, String(entry[0]), entry[1]);
    }
    return fields;
  }
  const record = headers as Record<string, unknown>;
  for (const name of Object.keys(record)) add(fields, name, record[name]);
  return fields;
}

function isIterable(value: unknown): value is Iterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.iterator in value;
}

/**
 * The headers of a response: `instanceof Headers`, immutable, taken apart on first use. Made without
 * the constructor of `Headers`, which costs more than a whole request.
 */
export class FetchHeaders {
  readonly #raw: ResponseHeaders;
  #sorted: [name: string, value: string][] | null = null;

  constructor(raw: ResponseHeaders) {
    this.#raw = raw;
  }

  get(name: string): string | null {
    return this.#raw.get(checked(name));
  }

  has(name: string): boolean {
    return this.#raw.get(checked(name)) !== null;
  }

  getSetCookie(): string[] {
    return this.#raw.getAll('set-cookie');
  }

  append(): void {
    throw new TypeError('immutable');
  }

  set(): void {
    throw new TypeError('immutable');
  }

  delete(): void {
    throw new TypeError('immutable');
  }

  forEach(
    callback: (value: string, name: string, headers: FetchHeaders) => void,
    thisArg?: unknown,
  ): void {
    if (typeof callback !== 'function') throw new TypeError('the callback must be a function');
    for (const [name, value] of this.#list()) callback.call(thisArg, value, name, this);
  }

  *entries(): Generator<[name: string, value: string]> {
    for (const [name, value] of this.#list()) yield [name, value];
  }

  *keys(): Generator<string> {
    for (const [name] of this.#list()) yield name;
  }

  *values(): Generator<string> {
    for (const [, value] of this.#list()) yield value;
  }

  [Symbol.iterator](): Generator<[name: string, value: string]> {
    return this.entries();
  }

  [inspectWith](): object {
    return Object.fromEntries(this.#list());
  }

  /** Sorted by name, equal names joined; each Set-Cookie stays alone ("sort and combine"). */
  #list(): [name: string, value: string][] {
    if (this.#sorted !== null) return this.#sorted;
    const list: [string, string][] = [];
    const pairs = [...this.#raw].sort((a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0));
    for (const [name, value] of pairs) {
      const last = list[list.length - 1];
      if (last !== undefined && last[0] === name && name !== 'set-cookie') last[1] += `, ${value}`;
      else list.push([name, value]);
    }
    this.#sorted = list;
    return list;
  }
}

function checked(name: string): string {
  const text = typeof name === 'string' ? name : String(name);
  if (!isToken(text)) throw new TypeError('a header name is invalid');
  return text;
}

/** Makes `FetchHeaders` a kind of the runtime's `Headers`. */
export function becomeHeaders(): void {
  pickUp(FetchHeaders.prototype, Headers, (own) => new Headers([...(own as FetchHeaders)]));
}
