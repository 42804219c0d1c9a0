import { BYTE_CLASS, TOKEN } from './byte-class.ts';
import { equalsLower, type HeaderTable } from './header-table.ts';
import { KnownField } from './known-field.ts';

/**
 * Fields of one connection, never forwarded (RFC 9110 section 7.6.1); indexed by
 * {@link KnownField}.
 */
export const HOP_BY_HOP: Uint8Array = new Uint8Array(64);
for (const id of [
  KnownField.Connection,
  KnownField.Http2Settings,
  KnownField.KeepAlive,
  KnownField.ProxyConnection,
  KnownField.TE,
  KnownField.TransferEncoding,
  KnownField.Upgrade,
]) {
  HOP_BY_HOP[id] = 1;
}

/** Compares two ranges, ignoring the case of letters; both are tokens. */
function sameToken(
  bytes: Uint8Array,
  start: number,
  end: number,
  otherStart: number,
  otherEnd: number,
): boolean {
  if (end - start !== otherEnd - otherStart) return false;
  for (let i = start, k = otherStart; i < end; i++, k++) {
    let left = bytes[i]!;
    let right = bytes[k]!;
    if (left >= 0x41 && left <= 0x5a) left |= 0x20;
    if (right >= 0x41 && right <= 0x5a) right |= 0x20;
    if (left !== right) return false;
  }
  return true;
}

/**
 * Marks what must not be forwarded: the known hop-by-hop fields and every field that Connection
 * nominates. One filter is reused for any number of heads.
 */
export class HopByHopFilter {
  private marks: Uint8Array = new Uint8Array(16);

  /** Judges all fields of `head`. `nominates` may be false when no Connection names others. */
  apply(head: HeaderTable, nominates = true): void {
    const count = head.count;
    if (this.marks.length < count) this.marks = new Uint8Array(Math.max(count, 2 * count));
    for (let i = 0; i < count; i++) this.marks[i] = HOP_BY_HOP[head.ids[i]!]!;
    if (!nominates) return;
    for (
      let i = head.indexOf(KnownField.Connection);
      i >= 0;
      i = head.indexOf(KnownField.Connection, i + 1)
    ) {
      this.markNominated(head, head.valueStart(i), head.valueEnd(i));
    }
  }

  private markNominated(head: HeaderTable, start: number, end: number): void {
    const bytes = head.bytes;
    let at = start;
    while (at < end) {
      const from = at;
      while (at < end && (BYTE_CLASS[bytes[at]!]! & TOKEN) !== 0) at++;
      if (at > from) {
        for (let i = 0; i < head.count; i++) {
          if (sameToken(bytes, head.nameStart(i), head.nameEnd(i), from, at)) this.marks[i] = 1;
        }
      } else at++;
    }
  }

  /** Whether field `index` of the head judged last must be left out. */
  isHopByHop(index: number): boolean {
    return this.marks[index] === 1;
  }
}

/** Whether Connection of `head` names the field `lower` (for trailers, which come later). */
export function isNominated(head: HeaderTable, lower: string): boolean {
  const bytes = head.bytes;
  for (
    let i = head.indexOf(KnownField.Connection);
    i >= 0;
    i = head.indexOf(KnownField.Connection, i + 1)
  ) {
    const end = head.valueEnd(i);
    let at = head.valueStart(i);
    while (at < end) {
      const from = at;
      while (at < end && (BYTE_CLASS[bytes[at]!]! & TOKEN) !== 0) at++;
      if (at === from) at++;
      else if (equalsLower(bytes, from, at, lower)) return true;
    }
  }
  return false;
}
