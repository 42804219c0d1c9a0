import { KNOWN_FIELD_NAMES, type KnownField, knownFieldOf } from './known-field.ts';

const EMPTY: Uint8Array = Buffer.alloc(0);
const INITIAL_FIELDS = 16;
/** Integers per field: name start, name end, value start, value end. */
const STRIDE = 4;

/** The native conversion, without the argument checks of `toString`; the types do not know it. */
const { latin1Slice } = Buffer.prototype as unknown as {
  latin1Slice(this: Uint8Array, start: number, end: number): string;
};

/** `bytes[start, end)` as a string of code points 0-255. */
export function latin1(bytes: Uint8Array, start: number, end: number): string {
  return end > start ? latin1Slice.call(bytes, start, end) : '';
}

/**
 * The fields of one head or trailer section as offsets into the bytes they arrived in, in order and
 * with their original case. One table is reused for every message of a connection, and it borrows
 * the bytes: it is valid until the callback that delivered the bytes returns or the parser reads on,
 * whichever is first. Call {@link snapshot} to keep it, or take the strings you need.
 *
 * Strings are made on demand, one conversion for the whole section.
 */
export class HeaderTable {
  /** Number of fields. */
  count = 0;
  /** The bytes the offsets point into. */
  bytes: Uint8Array = EMPTY;
  /** Section start and end in {@link bytes}: start line included, empty line too. */
  start = 0;
  end = 0;
  /** Offsets, four per field; read through the methods. */
  offsets: Int32Array = new Int32Array(INITIAL_FIELDS * STRIDE);
  /** Number of each field's name in {@link KnownField}. */
  ids: Uint8Array = new Uint8Array(INITIAL_FIELDS);
  /** Bit `id & 31` of word `id >> 5` says that a known field is present. */
  private maskLow = 0;
  private maskHigh = 0;
  private cachedText: string | null = null;

  /** Forgets the fields and lets go of the bytes. */
  clear(): void {
    this.count = 0;
    this.bytes = EMPTY;
    this.start = 0;
    this.end = 0;
    this.maskLow = 0;
    this.maskHigh = 0;
    this.cachedText = null;
  }

  /** For the parser: appends a field; all arguments are offsets into `bytes`. */
  add(
    bytes: Uint8Array,
    nameStart: number,
    nameEnd: number,
    valueStart: number,
    valueEnd: number,
  ): void {
    const index = this.count++;
    if (index >= this.ids.length) this.grow();
    const offsets = this.offsets;
    const at = index * STRIDE;
    offsets[at] = nameStart;
    offsets[at + 1] = nameEnd;
    offsets[at + 2] = valueStart;
    offsets[at + 3] = valueEnd;
    const id = knownFieldOf(bytes, nameStart, nameEnd);
    this.ids[index] = id;
    if (id < 32) this.maskLow |= 1 << id;
    else this.maskHigh |= 1 << (id & 31);
  }

  private grow(): void {
    const ids = new Uint8Array(this.ids.length * 2);
    ids.set(this.ids);
    this.ids = ids;
    const offsets = new Int32Array(this.offsets.length * 2);
    offsets.set(this.offsets);
    this.offsets = offsets;
  }

  /** For the parser: the bytes moved by `delta`. */
  shift(delta: number): void {
    const end = this.count * STRIDE;
    for (let i = 0; i < end; i++) this.offsets[i]! += delta;
    this.cachedText = null;
  }

  /** For the parser: the same section, complete, stands `delta` bytes further on in other bytes. */
  moveBy(delta: number): void {
    const text = this.cachedText;
    this.shift(delta);
    this.cachedText = text;
    this.start += delta;
    this.end += delta;
  }

  /** The whole section, converted once. */
  private text(): string {
    if (this.cachedText === null) this.cachedText = latin1(this.bytes, this.start, this.end);
    return this.cachedText;
  }

  /** Any bytes of the section as a string; offsets into {@link bytes}. */
  slice(start: number, end: number): string {
    return this.text().slice(start - this.start, end - this.start);
  }

  /** Whether a known field is present at least once. */
  has(id: KnownField): boolean {
    return id < 32 ? (this.maskLow & (1 << id)) !== 0 : (this.maskHigh & (1 << (id & 31))) !== 0;
  }

  /** Index of the first field with that number at or after `from`; -1 when there is none. */
  indexOf(id: KnownField, from = 0): number {
    if (!this.has(id)) return -1;
    const ids = this.ids;
    const count = this.count;
    for (let i = from; i < count; i++) if (ids[i] === id) return i;
    return -1;
  }

  /** How often a known field occurs. */
  countOf(id: KnownField): number {
    let found = 0;
    if (this.has(id)) for (let i = 0; i < this.count; i++) if (this.ids[i] === id) found++;
    return found;
  }

  /** Value of the first field with that number, or null. */
  valueOf(id: KnownField): string | null {
    const index = this.indexOf(id);
    return index < 0 ? null : this.value(index);
  }

  /** Value of the first field of that name, any case, or null. */
  get(name: string): string | null {
    const lower = name.toLowerCase();
    for (let i = 0; i < this.count; i++) if (this.nameEquals(i, lower)) return this.value(i);
    return null;
  }

  /** Values of every field of that name in order; they may be joined with `, ` (RFC 9110 5.3). */
  getAll(name: string): string[] {
    const lower = name.toLowerCase();
    const values: string[] = [];
    for (let i = 0; i < this.count; i++) if (this.nameEquals(i, lower)) values.push(this.value(i));
    return values;
  }

  /** Number of field `index`, 0 when the name is not a known one. */
  id(index: number): KnownField {
    return this.ids[index]! as KnownField;
  }

  /** Name of field `index` as it was sent. */
  name(index: number): string {
    const at = index * STRIDE;
    return this.slice(this.offsets[at]!, this.offsets[at + 1]!);
  }

  /** Name of field `index` in lower case; known names cost nothing. */
  nameLower(index: number): string {
    const id = this.ids[index]!;
    return id !== 0 ? KNOWN_FIELD_NAMES[id]! : this.name(index).toLowerCase();
  }

  /** Value of field `index` without the whitespace round it. */
  value(index: number): string {
    const at = index * STRIDE;
    return this.slice(this.offsets[at + 2]!, this.offsets[at + 3]!);
  }

  nameStart(index: number): number {
    return this.offsets[index * STRIDE]!;
  }

  nameEnd(index: number): number {
    return this.offsets[index * STRIDE + 1]!;
  }

  valueStart(index: number): number {
    return this.offsets[index * STRIDE + 2]!;
  }

  valueEnd(index: number): number {
    return this.offsets[index * STRIDE + 3]!;
  }

  /** Whether the name of field `index` is `lower` (lower-case ASCII), in any case. */
  nameEquals(index: number, lower: string): boolean {
    const at = index * STRIDE;
    return equalsLower(this.bytes, this.offsets[at]!, this.offsets[at + 1]!, lower);
  }

  /** Whether the value of field `index` is `lower` (lower-case ASCII), in any case. */
  valueEquals(index: number, lower: string): boolean {
    const at = index * STRIDE;
    return equalsLower(this.bytes, this.offsets[at + 2]!, this.offsets[at + 3]!, lower);
  }

  /** Removes the known fields that `set` (indexed by number) marks. */
  removeKnown(set: Uint8Array): void {
    let kept = 0;
    for (let i = 0; i < this.count; i++) {
      const id = this.ids[i]!;
      if (set[id] === 1) {
        if (id < 32) this.maskLow &= ~(1 << id);
        else this.maskHigh &= ~(1 << (id & 31));
        continue;
      }
      if (kept !== i) {
        this.ids[kept] = id;
        this.offsets.copyWithin(kept * STRIDE, i * STRIDE, (i + 1) * STRIDE);
      }
      kept++;
    }
    this.count = kept;
  }

  /** Calls back with every field in order. */
  forEach(callback: (name: string, value: string, index: number) => void): void {
    for (let i = 0; i < this.count; i++) callback(this.name(i), this.value(i), i);
  }

  /** Name, value, name, value … in order, names as sent. */
  rawPairs(): string[] {
    const pairs: string[] = new Array(this.count * 2);
    for (let i = 0; i < this.count; i++) {
      pairs[i * 2] = this.name(i);
      pairs[i * 2 + 1] = this.value(i);
    }
    return pairs;
  }

  /** A table of its own with a copy of the bytes: for whoever must keep it. */
  snapshot(): HeaderTable {
    const copy = new HeaderTable();
    this.copyInto(copy);
    return copy;
  }

  protected copyInto(copy: HeaderTable): void {
    copy.count = this.count;
    copy.bytes = Buffer.from(this.bytes.subarray(this.start, this.end));
    copy.start = 0;
    copy.end = this.end - this.start;
    copy.offsets = this.offsets.slice(0, Math.max(this.count, 1) * STRIDE);
    copy.ids = this.ids.slice(0, Math.max(this.count, 1));
    for (let i = 0; i < this.count * STRIDE; i++) copy.offsets[i]! -= this.start;
    copy.maskLow = this.maskLow;
    copy.maskHigh = this.maskHigh;
    copy.cachedText = this.cachedText;
  }
}

/** Compares `bytes[start, end)` with a lower-case ASCII string, ignoring the case of letters. */
export function equalsLower(bytes: Uint8Array, start: number, end: number, lower: string): boolean {
  if (end - start !== lower.length) return false;
  for (let i = start, k = 0; i < end; i++, k++) {
    let byte = bytes[i]!;
    if (byte >= 0x41 && byte <= 0x5a) byte |= 0x20;
    if (byte !== lower.charCodeAt(k)) return false;
  }
  return true;
}

/** How the end of a body is known (RFC 9112 section 6.3). */
export const Framing = {
  /** There is no body. */
  None: 0,
  /** Content-Length. */
  Length: 1,
  /** Transfer-Encoding: chunked. */
  Chunked: 2,
  /** Until the connection closes; responses only. */
  Close: 3,
  /** No message body any more: 101, or 2xx to CONNECT. Everything after the head is opaque. */
  Tunnel: 4,
} as const;
export type Framing = (typeof Framing)[keyof typeof Framing];

/** What requests and responses have in common. */
export class MessageHead extends HeaderTable {
  /** Minor version: 0 or 1. */
  versionMinor = 1;
  /** Whether the sender leaves the connection open. Never true for HTTP/1.0. */
  keepAlive = true;
  framing: Framing = Framing.None;
  /** Value of Content-Length; -1 without one. For HEAD and 304 it is not the size of a body. */
  contentLength = -1;
  /** Connection has the option `upgrade` and Upgrade is present. */
  upgrade = false;
  /** Connection names at least one field besides `close`, `keep-alive` and `upgrade`. */
  nominates = false;
  /** Byte for byte the head before it on this connection: what was derived from it holds. */
  repeated = false;
  /** The reader's own: what it derived from this head; null again as soon as another head comes. */
  derived: unknown = null;

  override clear(): void {
    super.clear();
    this.versionMinor = 1;
    this.keepAlive = true;
    this.framing = Framing.None;
    this.contentLength = -1;
    this.upgrade = false;
    this.nominates = false;
    this.repeated = false;
    this.derived = null;
  }

  protected override copyInto(copy: MessageHead): void {
    super.copyInto(copy);
    copy.versionMinor = this.versionMinor;
    copy.keepAlive = this.keepAlive;
    copy.framing = this.framing;
    copy.contentLength = this.contentLength;
    copy.upgrade = this.upgrade;
    copy.nominates = this.nominates;
  }
}

export class ResponseHead extends MessageHead {
  status = 0;
  reasonStart = 0;
  reasonEnd = 0;

  get reason(): string {
    return this.slice(this.reasonStart, this.reasonEnd);
  }

  override shift(delta: number): void {
    super.shift(delta);
    this.reasonStart += delta;
    this.reasonEnd += delta;
  }

  override snapshot(): ResponseHead {
    const copy = new ResponseHead();
    this.copyInto(copy);
    copy.status = this.status;
    copy.reasonStart = this.reasonStart - this.start;
    copy.reasonEnd = this.reasonEnd - this.start;
    return copy;
  }
}

/** Which of the four forms of RFC 9112 section 3.2 the target has. */
export const TargetForm = { Origin: 0, Absolute: 1, Authority: 2, Asterisk: 3 } as const;
export type TargetForm = (typeof TargetForm)[keyof typeof TargetForm];

export class RequestHead extends MessageHead {
  /** The sender waits for 100 before it sends the body (RFC 9110 section 10.1.1). */
  expectContinue = false;
  methodStart = 0;
  methodEnd = 0;
  targetStart = 0;
  targetEnd = 0;
  targetForm: TargetForm = TargetForm.Origin;
  /** Path and query inside the target; empty for `*`, authority-form and `http://host`. */
  pathStart = 0;
  pathEnd = 0;
  /** Effective authority: of the target when it has one (it wins, section 3.2.2), else Host. */
  authorityStart = 0;
  authorityEnd = 0;

  override clear(): void {
    super.clear();
    this.targetForm = TargetForm.Origin;
    this.pathStart = 0;
    this.pathEnd = 0;
    this.authorityStart = 0;
    this.authorityEnd = 0;
    this.expectContinue = false;
  }

  get method(): string {
    return this.slice(this.methodStart, this.methodEnd);
  }

  /** The request target exactly as sent. */
  get target(): string {
    return this.slice(this.targetStart, this.targetEnd);
  }

  /**
   * Path and query as a server is asked for them: `/` for `http://host`, `*` for `OPTIONS *` and
   * `OPTIONS http://host` (RFC 9112 section 3.2.4), empty for CONNECT.
   */
  get path(): string {
    if (this.targetForm === TargetForm.Asterisk) return '*';
    if (this.targetForm === TargetForm.Authority) return '';
    const path = this.slice(this.pathStart, this.pathEnd);
    if (path === '' && this.method === 'OPTIONS') return '*';
    return path.length > 0 && path.charCodeAt(0) === 0x2f ? path : `/${path}`;
  }

  /** Host with port as sent; empty when an HTTP/1.0 request names none. */
  get authority(): string {
    return this.slice(this.authorityStart, this.authorityEnd);
  }

  override shift(delta: number): void {
    super.shift(delta);
    this.methodStart += delta;
    this.methodEnd += delta;
    this.targetStart += delta;
    this.targetEnd += delta;
  }

  override moveBy(delta: number): void {
    super.moveBy(delta);
    this.pathStart += delta;
    this.pathEnd += delta;
    this.authorityStart += delta;
    this.authorityEnd += delta;
  }

  override snapshot(): RequestHead {
    const copy = new RequestHead();
    this.copyInto(copy);
    const by = this.start;
    copy.methodStart = this.methodStart - by;
    copy.methodEnd = this.methodEnd - by;
    copy.targetStart = this.targetStart - by;
    copy.targetEnd = this.targetEnd - by;
    copy.targetForm = this.targetForm;
    copy.pathStart = this.pathStart - by;
    copy.pathEnd = this.pathEnd - by;
    copy.authorityStart = this.authorityStart - by;
    copy.authorityEnd = this.authorityEnd - by;
    copy.expectContinue = this.expectContinue;
    return copy;
  }
}
