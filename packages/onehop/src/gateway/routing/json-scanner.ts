/**
 * Finds `model` and `stream` at the top level of a JSON object while its bytes stream past, without
 * parsing it. Long strings are skipped with the runtime's native search, so a prompt of megabytes
 * costs little more than its quotation marks.
 */

export const ScanState = {
  /** Not decided yet: feed more. */
  More: 0,
  /** The object ended; `model` and `stream` are final. */
  Done: 1,
  /** Not a JSON object, a duplicate `model`, too deep, or a value of the wrong type. */
  Invalid: 2,
} as const;
export type ScanState = (typeof ScanState)[keyof typeof ScanState];

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const DEPTH_MAX = 256;
/** Keys and model names longer than this are not kept; the key is then none of ours. */
const KEPT_BYTES_MAX = 512;

const Place = { Key: 0, Colon: 1, Value: 2, AfterValue: 3 } as const;

export class JsonScanner {
  model: string | null = null;
  stream: boolean | null = null;
  state: ScanState = ScanState.More;

  #depth = 0;
  #inString = false;
  #escaped = false;
  /** Where we are in the top-level object. */
  #place: number = Place.Key;
  /** Bytes of the string being read, when it is a top-level key or the model's name. */
  #kept: number[] | null = null;
  #keptHasEscape = false;
  #key = '';
  #literal = '';
  #modelSeen = false;

  /** Reads on; `bytes` is not kept. */
  feed(bytes: Uint8Array): ScanState {
    let at = 0;
    while (at < bytes.length && this.state === ScanState.More) {
      at = this.#inString ? this.#skipString(bytes, at) : this.#step(bytes, at);
    }
    return this.state;
  }

  /** Inside a string: goes to its end or to the end of the bytes. */
  #skipString(bytes: Uint8Array, start: number): number {
    let at = start;
    if (this.#kept !== null) return this.#keepString(bytes, start);
    if (this.#escaped) {
      this.#escaped = false;
      at++;
    }
    for (;;) {
      const quote = bytes.indexOf(QUOTE, at);
      const end = quote === -1 ? bytes.length : quote;
      let slashes = 0;
      while (end - slashes > at && bytes[end - slashes - 1] === BACKSLASH) slashes++;
      if (quote === -1) {
        this.#escaped = slashes % 2 === 1;
        return end;
      }
      at = quote + 1;
      if (slashes % 2 === 0) {
        this.#inString = false;
        this.#endString();
        return at;
      }
    }
  }

  #keepString(bytes: Uint8Array, start: number): number {
    const kept = this.#kept!;
    for (let at = start; at < bytes.length; at++) {
      const byte = bytes[at]!;
      if (this.#escaped) this.#escaped = false;
      else if (byte === BACKSLASH) {
        this.#escaped = true;
        this.#keptHasEscape = true;
      } else if (byte === QUOTE) {
        this.#inString = false;
        this.#endString();
        return at + 1;
      }
      if (kept.length < KEPT_BYTES_MAX) kept.push(byte);
      else {
        // Too long to be one of ours; go on without keeping.
        this.#kept = null;
        this.#key = '';
        if (this.#place === Place.Value) this.state = ScanState.Invalid;
        return at + 1;
      }
    }
    return bytes.length;
  }

  #endString(): void {
    const kept = this.#kept;
    this.#kept = null;
    if (this.#depth !== 1) return;
    if (this.#place === Place.Key) {
      this.#key = kept === null ? '' : this.#text(kept);
      this.#place = Place.Colon;
      if (this.#key === 'model') {
        // Two servers may pick different ones.
        if (this.#modelSeen) this.state = ScanState.Invalid;
        this.#modelSeen = true;
      }
      return;
    }
    if (this.#key === 'model') this.model = kept === null ? null : this.#text(kept);
    this.#place = Place.AfterValue;
  }

  /** Only short strings come here, so JSON.parse is the cheap and exact way to undo escapes. */
  #text(kept: number[]): string {
    const raw = new TextDecoder().decode(Uint8Array.from(kept));
    if (!this.#keptHasEscape) return raw;
    try {
      return JSON.parse(`"${raw}"`) as string;
    } catch {
      this.state = ScanState.Invalid;
      return '';
    }
  }

  /** Outside a string: one byte. */
  #step(bytes: Uint8Array, at: number): number {
    const byte = bytes[at]!;
    if (byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09) {
      this.#endLiteral();
      return at + 1;
    }
    if (this.#depth === 0) {
      if (byte === 0x7b) this.#depth = 1;
      else this.state = ScanState.Invalid;
      return at + 1;
    }
    if (byte === QUOTE) {
      this.#inString = true;
      const wanted =
        this.#depth === 1 &&
        (this.#place === Place.Key || (this.#place === Place.Value && this.#key === 'model'));
      this.#kept = wanted ? [] : null;
      this.#keptHasEscape = false;
      if (this.#depth === 1 && this.#place !== Place.Key && this.#place !== Place.Value) {
        this.state = ScanState.Invalid;
      }
    } else if (byte === 0x7b || byte === 0x5b) {
      this.#open();
    } else if (byte === 0x7d || byte === 0x5d) {
      this.#close(byte);
    } else if (this.#depth === 1) {
      this.#topLevel(byte);
    }
    return at + 1;
  }

  #open(): void {
    if (this.#depth === 1 && (this.#place !== Place.Value || this.#key === 'model')) {
      this.state = ScanState.Invalid;
    }
    this.#depth++;
    if (this.#depth > DEPTH_MAX) this.state = ScanState.Invalid;
  }

  #close(byte: number): void {
    this.#endLiteral();
    if (this.state === ScanState.Invalid) return;
    this.#depth--;
    if (this.#depth === 0) this.state = byte === 0x7d ? ScanState.Done : ScanState.Invalid;
    else if (this.#depth === 1) this.#place = Place.AfterValue;
  }

  #topLevel(byte: number): void {
    if (byte === 0x3a && this.#place === Place.Colon) {
      this.#place = Place.Value;
    } else if (byte === 0x2c) {
      this.#endLiteral();
      if (this.#place === Place.AfterValue) this.#place = Place.Key;
      else this.state = ScanState.Invalid;
    } else if (this.#place === Place.Value && this.#literal.length < 32) {
      this.#literal += String.fromCharCode(byte);
    } else {
      this.state = ScanState.Invalid;
    }
  }

  /** true, false, null or a number ended. */
  #endLiteral(): void {
    if (this.#literal === '' || this.#depth !== 1) return;
    if (this.#key === 'stream') this.stream = this.#literal === 'true';
    if (this.#key === 'model' && this.#literal !== 'null') this.state = ScanState.Invalid;
    this.#literal = '';
    this.#place = Place.AfterValue;
  }
}
