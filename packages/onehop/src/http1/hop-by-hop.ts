import { BYTE_CLASS, TOKEN } from './byte-class.ts';
import { FieldBlock } from './field-block.ts';
import { equalsLower, type HeaderTable } from './header-table.ts';
import { HOP_BY_HOP } from './hop-by-hop-fields.ts';
import { KnownField } from './known-field.ts';

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

  /** Leaves field `index` of the head judged last out, too. */
  mark(index: number): void {
    this.marks[index] = 1;
  }

  /**
   * The fields of `head` that no mark leaves out, written as a head writes them. Neighbours that
   * already stand so in the bytes are taken in one piece; the parser has checked every byte of them.
   */
  collect(head: HeaderTable): FieldBlock {
    return FieldBlock.ofChecked(this.collectText(head));
  }

  /** {@link collect} as text, for whoever adds fields of its own. */
  collectText(head: HeaderTable): string {
    const count = head.count;
    const marks = this.marks;
    let text = '';
    let from = -1;
    let to = -1;
    for (let i = 0; i < count; i++) {
      if (marks[i] === 1) continue;
      const start = head.nameStart(i);
      const nameEnd = head.nameEnd(i);
      const valueStart = head.valueStart(i);
      const valueEnd = head.valueEnd(i);
      const { bytes } = head;
      // `name: value CRLF`, nothing more and nothing less.
      const exact =
        valueStart === nameEnd + 2 &&
        bytes[nameEnd + 1] === 0x20 &&
        bytes[valueEnd] === 0x0d &&
        bytes[valueEnd + 1] === 0x0a;
      if (exact && start === to) {
        to = valueEnd + 2;
        continue;
      }
      if (to !== -1) text += head.slice(from, to);
      if (exact) {
        from = start;
        to = valueEnd + 2;
      } else {
        to = -1;
        text += `${head.name(i)}: ${head.value(i)}\r\n`;
      }
    }
    if (to !== -1) text += head.slice(from, to);
    return text;
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
