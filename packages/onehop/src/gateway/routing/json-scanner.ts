/**
 * Finds `model` and `stream` at the top level of a JSON object while its bytes stream past, and checks
 * to the last byte that there is one model only. The grammar (RFC 8259) is followed byte by byte with
 * one table, because what a lenient parser behind us reads differently (comments, single quotes, a
 * comma too many) could hide a second model from us. What strings hold is passed over with the
 * runtime's native search, so a prompt of megabytes costs little more than its quotation marks.
 */

export const ScanState = {
  /** Not at the end of the object: feed more. */
  More: 0,
  /** The object ended; `model` and `stream` are final. Only white space may follow. */
  Done: 1,
  /** No JSON object, a second `model`, too deep, bytes behind the object or a `model` of the wrong type. */
  Invalid: 2,
} as const;
export type ScanState = (typeof ScanState)[keyof typeof ScanState];

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const DEPTH_MAX = 256;
/** Keys and model names longer than this are not kept; the key is then none of ours. */
const KEPT_BYTES_MAX = 512;
/** So much of a string is looked through here before the native search is asked, which costs a call. */
const NEAR_BYTES = 24;

// Places between two bytes. What differs at the top level has a place of its own there, so that what
// is nested runs through the table alone.
const places = [
  ...['begin', 'bom1', 'bom2', 'start', 'topFirstKey', 'topKey', 'topColon', 'topValue', 'end'],
  ...['firstKey', 'key', 'colon', 'value', 'firstItem', 'after'],
  ...['minus', 'zero', 'int', 'dot', 'frac', 'exp', 'expSign', 'expInt'],
  ...['t', 'tr', 'tru', 'f', 'fa', 'fal', 'fals', 'n', 'nu', 'nul'],
] as const;
type PlaceName = (typeof places)[number];
const at = (name: PlaceName): number => places.indexOf(name);
const BEGIN = at('begin');
const TOP_FIRST_KEY = at('topFirstKey');
const TOP_KEY = at('topKey');
const TOP_COLON = at('topColon');
const END = at('end');
const FIRST_KEY = at('firstKey');
const KEY = at('key');
const COLON = at('colon');
const VALUE = at('value');
const FIRST_ITEM = at('firstItem');
const AFTER = at('after');

/** What the table asks for instead of the next place. */
const Action = {
  OpenObject: 64,
  OpenArray: 65,
  CloseObject: 66,
  CloseArray: 67,
  Comma: 68,
  /** A string begins: nested key, nested value, key and value at the top. */
  Key: 69,
  Text: 70,
  TopKey: 71,
  TopText: 72,
  /** A number, true, false or null begins at the top. */
  TopScalar: 73,
  OpenTopObject: 74,
  Bad: 75,
} as const;
const FIRST_ACTION = 64;

/** Bytes that mean the same everywhere; all others are of class 0. */
const classes = new Uint8Array(256);
const CLASS_NAMES = '{}[]:,"-+.0eEtrufalsn';
for (const [index, name] of [...CLASS_NAMES].entries()) classes[name.charCodeAt(0)] = index + 1;
const SPACE = CLASS_NAMES.length + 1;
const DIGIT = SPACE + 1;
for (const byte of [0x20, 0x0a, 0x0d, 0x09]) classes[byte] = SPACE;
for (let byte = 0x31; byte <= 0x39; byte++) classes[byte] = DIGIT;
// The byte order mark, EF BB BF: one may stand in front.
for (const [index, byte] of [0xef, 0xbb, 0xbf].entries()) classes[byte] = DIGIT + 1 + index;

/** Next place or action, by place and class. */
const table = new Uint8Array(places.length << 5).fill(Action.Bad);

function put(place: PlaceName, on: string | number, next: number): void {
  const keys = typeof on === 'number' ? [on] : [...on].map((name) => CLASS_NAMES.indexOf(name) + 1);
  for (const key of keys) table[(at(place) << 5) | key] = next;
}

function fillTable(): void {
  put('begin', DIGIT + 1, at('bom1'));
  put('bom1', DIGIT + 2, at('bom2'));
  put('bom2', DIGIT + 3, at('start'));
  for (const place of ['begin', 'start'] as const) {
    put(place, SPACE, at('start'));
    put(place, '{', Action.OpenTopObject);
  }
  for (const place of ['topFirstKey', 'topKey'] as const) put(place, '"', Action.TopKey);
  for (const place of ['firstKey', 'key'] as const) put(place, '"', Action.Key);
  for (const place of ['topFirstKey', 'firstKey', 'after'] as const)
    put(place, '}', Action.CloseObject);
  for (const place of ['firstItem', 'after'] as const) put(place, ']', Action.CloseArray);
  put('topColon', ':', at('topValue'));
  put('colon', ':', VALUE);
  put('after', ',', Action.Comma);
  put('topValue', '"', Action.TopText);
  put('topValue', '-0tfn', Action.TopScalar);
  put('topValue', DIGIT, Action.TopScalar);
  for (const place of ['value', 'firstItem'] as const) {
    put(place, '"', Action.Text);
    for (const name of 'tfn') put(place, name, at(name as PlaceName));
    put(place, '-', at('minus'));
    put(place, '0', at('zero'));
    put(place, DIGIT, at('int'));
  }
  for (const place of ['topValue', 'value', 'firstItem'] as const) {
    put(place, '{', Action.OpenObject);
    put(place, '[', Action.OpenArray);
  }
  for (const place of places.slice(3, places.indexOf('minus'))) put(place, SPACE, at(place));
  fillScalars();
}

function fillScalars(): void {
  const digits = (place: PlaceName, next: PlaceName): void => {
    put(place, DIGIT, at(next));
    put(place, '0', at(next));
  };
  put('minus', '0', at('zero'));
  put('minus', DIGIT, at('int'));
  digits('int', 'int');
  digits('dot', 'frac');
  digits('frac', 'frac');
  for (const place of ['exp', 'expSign', 'expInt'] as const) digits(place, 'expInt');
  for (const place of ['zero', 'int'] as const) put(place, '.', at('dot'));
  for (const place of ['zero', 'int', 'frac'] as const) put(place, 'eE', at('exp'));
  put('exp', '+-', at('expSign'));
  for (const place of ['zero', 'int', 'frac', 'expInt'] as const) {
    put(place, SPACE, AFTER);
    put(place, ',', Action.Comma);
    put(place, '}', Action.CloseObject);
    put(place, ']', Action.CloseArray);
  }
  for (const word of ['true', 'false', 'null']) {
    for (let length = 1; length < word.length; length++) {
      const next = length + 1 < word.length ? at(word.slice(0, length + 1) as PlaceName) : AFTER;
      put(word.slice(0, length) as PlaceName, word[length]!, next);
    }
  }
}

fillTable();

/** Where the string being read stands; 0: we are in none. */
const Text = { None: 0, Skipped: 1, TopKey: 2, Model: 3 } as const;

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export class JsonScanner {
  /** The value of the first `model`; null while there is none, and for `null`. */
  model: string | null = null;
  stream: boolean | null = null;
  state: ScanState = ScanState.More;
  /** It is invalid because a second key would be taken for the model. */
  ambiguous = false;

  #place = BEGIN;
  #text: number = Text.None;
  /** Where it goes on behind the string. */
  #afterText = 0;
  #escaped = false;
  /** Bytes of the string being read, when it is a key at the top or the model's name. */
  #kept: number[] = [];
  #keptHasEscape = false;
  /** What is open, outermost first: true for an object. */
  readonly #open: boolean[] = [];
  #isModel = false;
  #isStream = false;
  /** A key was there that some reader takes for the model. */
  #modelSeen = false;

  /** Reads `bytes[start, end)`, which are not kept. Go on behind `Done`: a second text may follow. */
  feed(bytes: Uint8Array, start = 0, end: number = bytes.length): ScanState {
    let index = start;
    while (index < end && this.state !== ScanState.Invalid) {
      if (this.#text !== Text.None) {
        index =
          this.#text === Text.Skipped
            ? this.#skipText(bytes, index, end)
            : this.#keepText(bytes, index, end);
        continue;
      }
      let place = this.#place;
      let next = place;
      while (index < end) {
        next = table[(place << 5) | classes[bytes[index++]!]!]!;
        if (next >= FIRST_ACTION) break;
        place = next;
      }
      this.#place = place;
      if (next >= FIRST_ACTION) this.#act(next, bytes[index - 1]!);
    }
    return this.state;
  }

  /** There are no more bytes: an object that has not ended is invalid. An empty body is none at all. */
  end(): ScanState {
    if (this.state === ScanState.More && this.#place !== BEGIN) this.state = ScanState.Invalid;
    return this.state;
  }

  /**
   * Whether the body is to be refused, a route being `found` for its model or for none. A body without
   * a model may be anything for a route that asks for none; where one was found, all of it must hold.
   */
  refuses(found: boolean): boolean {
    if (this.state !== ScanState.Invalid) return false;
    return found ? this.model !== null || this.ambiguous : this.model === null;
  }

  #act(action: number, byte: number): void {
    switch (action) {
      case Action.Key:
        this.#beginText(Text.Skipped, COLON);
        return;
      case Action.Text:
        this.#beginText(Text.Skipped, AFTER);
        return;
      case Action.TopKey:
        this.#beginText(Text.TopKey, TOP_COLON);
        return;
      case Action.TopText:
        this.#beginText(this.#isModel ? Text.Model : Text.Skipped, AFTER);
        return;
      case Action.Comma:
        this.#comma();
        return;
      case Action.OpenObject:
      case Action.OpenArray:
        this.#opened(action === Action.OpenObject);
        return;
      case Action.CloseObject:
      case Action.CloseArray:
        this.#closed(action === Action.CloseObject);
        return;
      case Action.OpenTopObject:
        this.#open.push(true);
        this.#place = TOP_FIRST_KEY;
        return;
      case Action.TopScalar:
        // `null` is no name, and no mistake.
        if (this.#isModel && byte !== 0x6e) this.state = ScanState.Invalid;
        if (this.#isStream) this.stream = byte === 0x74;
        this.#place = table[(VALUE << 5) | classes[byte]!]!;
        return;
      default:
        this.state = ScanState.Invalid;
    }
  }

  #comma(): void {
    const depth = this.#open.length;
    if (depth === 1) this.#place = TOP_KEY;
    else this.#place = this.#open[depth - 1]! ? KEY : VALUE;
  }

  #opened(isObject: boolean): void {
    if (this.#open.length === 1 && this.#isModel) this.state = ScanState.Invalid;
    this.#open.push(isObject);
    if (this.#open.length > DEPTH_MAX) this.state = ScanState.Invalid;
    this.#place = isObject ? FIRST_KEY : FIRST_ITEM;
  }

  #closed(isObject: boolean): void {
    if (this.#open.pop() !== isObject) this.state = ScanState.Invalid;
    else if (this.#open.length > 0) this.#place = AFTER;
    else {
      this.state = ScanState.Done;
      this.#place = END;
    }
  }

  #beginText(text: number, after: number): void {
    this.#text = text;
    this.#afterText = after;
    if (text === Text.Skipped) return;
    this.#kept = [];
    this.#keptHasEscape = false;
  }

  #endText(): void {
    const text = this.#text;
    this.#text = Text.None;
    this.#place = this.#afterText;
    if (text === Text.Model) this.model = this.#keptText();
    else if (text === Text.TopKey) this.#endKey();
  }

  #endKey(): void {
    const key = this.#keptText();
    this.#isModel = key === 'model';
    this.#isStream = key === 'stream';
    if (!takenForModel(key)) return;
    // Two readers may pick different ones.
    if (this.#modelSeen) {
      this.ambiguous = true;
      this.state = ScanState.Invalid;
    }
    this.#modelSeen = true;
  }

  /** Inside a string that is of no interest: goes to its end or to the end of the bytes. */
  #skipText(bytes: Uint8Array, start: number, end: number): number {
    let index = this.#escaped ? start + 1 : start;
    this.#escaped = false;
    for (;;) {
      const near = Math.min(end, index + NEAR_BYTES);
      while (index < near) {
        const byte = bytes[index++]!;
        if (byte === QUOTE) {
          this.#endText();
          return index;
        }
        if (byte === BACKSLASH) index++;
      }
      if (index >= end) {
        this.#escaped = index > end;
        return end;
      }
      // Not beyond the end: with tiny chunks each would search all that was read.
      const quote =
        end === bytes.length
          ? bytes.indexOf(QUOTE, index)
          : bytes.subarray(0, end).indexOf(QUOTE, index);
      const stop = quote === -1 ? end : quote;
      let slashes = 0;
      while (stop - slashes > index && bytes[stop - slashes - 1] === BACKSLASH) slashes++;
      if (quote === -1) {
        this.#escaped = slashes % 2 === 1;
        return end;
      }
      index = quote + 1;
      if (slashes % 2 === 0) {
        this.#endText();
        return index;
      }
    }
  }

  #keepText(bytes: Uint8Array, start: number, end: number): number {
    const kept = this.#kept;
    for (let index = start; index < end; index++) {
      const byte = bytes[index]!;
      if (this.#escaped) this.#escaped = false;
      else if (byte === BACKSLASH) {
        this.#escaped = true;
        this.#keptHasEscape = true;
      } else if (byte === QUOTE) {
        this.#endText();
        return index + 1;
      }
      if (kept.length < KEPT_BYTES_MAX) kept.push(byte);
      else {
        // Too long to be one of ours.
        if (this.#text === Text.Model) this.state = ScanState.Invalid;
        this.#text = Text.Skipped;
        this.#isModel = false;
        this.#isStream = false;
        return index + 1;
      }
    }
    return end;
  }

  /** Only short strings come here, so JSON.parse is the cheap and exact way to undo escapes. */
  #keptText(): string {
    const kept = this.#kept;
    let isPlain = !this.#keptHasEscape;
    for (let i = 0; isPlain && i < kept.length; i++) isPlain = kept[i]! >= 0x20 && kept[i]! < 0x80;
    if (isPlain) return String.fromCharCode(...kept);
    try {
      return JSON.parse(`"${decoder.decode(Uint8Array.from(kept))}"`) as string;
    } catch {
      this.state = ScanState.Invalid;
      return '';
    }
  }
}

/**
 * Whether some JSON reader would store the value of this key as the model: Go's matches names without
 * regard to case, and where strings end with a NUL what follows one is not seen.
 */
function takenForModel(key: string): boolean {
  if (key.length < 5) return false;
  const nul = key.indexOf('\0');
  return (nul === -1 ? key : key.slice(0, nul)).toLowerCase() === 'model';
}
