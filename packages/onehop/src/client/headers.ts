import type { HeaderTable } from '../http1/index.ts';

/**
 * Header fields of a response: names in any case, order and repetition kept. They are taken apart on
 * first use only.
 */
export class ResponseHeaders implements Iterable<[name: string, value: string]> {
  /** Name as sent, value, name, value ... */
  #pairs: string[] | null = null;
  /** The section as it came: start line (or none), field lines, empty line. */
  #text: string;
  readonly #hasStartLine: boolean;

  /** Keeps what it needs of `table`, which may be reused afterwards. */
  constructor(table: HeaderTable, hasStartLine: boolean) {
    this.#text = table.count === 0 && !hasStartLine ? '' : table.slice(table.start, table.end);
    this.#hasStartLine = hasStartLine;
  }

  /** Value of a field; several of the same name are joined with `, `. Null when there is none. */
  get(name: string): string | null {
    const lower = name.toLowerCase();
    const pairs = this.#parse();
    let found: string | null = null;
    for (let i = 0; i < pairs.length; i += 2) {
      if (pairs[i]!.length !== lower.length || pairs[i]!.toLowerCase() !== lower) continue;
      found = found === null ? pairs[i + 1]! : `${found}, ${pairs[i + 1]}`;
    }
    return found;
  }

  /** Every value of that name, in order; for Set-Cookie, which must not be joined. */
  getAll(name: string): string[] {
    const lower = name.toLowerCase();
    const pairs = this.#parse();
    const values: string[] = [];
    for (let i = 0; i < pairs.length; i += 2) {
      if (pairs[i]!.toLowerCase() === lower) values.push(pairs[i + 1]!);
    }
    return values;
  }

  has(name: string): boolean {
    return this.get(name) !== null;
  }

  /** Number of fields. */
  get size(): number {
    return this.#parse().length / 2;
  }

  /** Name (lower case) and value of each field, in the order they came. */
  *[Symbol.iterator](): Generator<[name: string, value: string]> {
    const pairs = this.#parse();
    for (let i = 0; i < pairs.length; i += 2) yield [pairs[i]!.toLowerCase(), pairs[i + 1]!];
  }

  /** Name and value in turn, names as sent. */
  raw(): readonly string[] {
    return this.#parse();
  }

  /** The reason phrase; only for a section with a status line. */
  get reason(): string {
    if (!this.#hasStartLine || this.#pairs !== null) return this.#reason;
    this.#parse();
    return this.#reason;
  }

  #reason = '';

  /** The parser has checked every line, so this only cuts. */
  #parse(): string[] {
    if (this.#pairs !== null) return this.#pairs;
    const text = this.#text;
    const pairs: string[] = [];
    let at = 0;
    if (this.#hasStartLine) {
      const end = text.indexOf('\r\n');
      this.#reason = text.slice(13, end); // behind `HTTP/1.1 200 `
      at = end + 2;
    }
    for (;;) {
      const end = text.indexOf('\r\n', at);
      if (end <= at) break;
      const colon = text.indexOf(':', at);
      pairs.push(text.slice(at, colon), trimOws(text, colon + 1, end));
      at = end + 2;
    }
    this.#pairs = pairs;
    this.#text = '';
    return pairs;
  }
}

function trimOws(text: string, start: number, end: number): string {
  let from = start;
  let to = end;
  while (from < to && isOws(text.charCodeAt(from))) from++;
  while (to > from && isOws(text.charCodeAt(to - 1))) to--;
  return text.slice(from, to);
}

const isOws = (c: number): boolean => c === 32 || c === 9;
