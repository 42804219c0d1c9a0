import assert from 'node:assert/strict';
import { test } from 'node:test';
import { JsonScanner, ScanState } from './json-scanner.ts';

interface Outcome {
  valid: boolean;
  model: string | null;
}

/** Feeds `bytes` cut at random, or in pieces of `size`. */
function scan(bytes: Uint8Array, random: () => number, size = 0): JsonScanner {
  const scanner = new JsonScanner();
  for (let at = 0; at < bytes.length; ) {
    const end = size > 0 ? at + size : at + 1 + Math.floor(random() ** 3 * bytes.length);
    // Also as the gateway does it: a range of a longer buffer.
    scanner.feed(bytes, at, Math.min(end, bytes.length));
    at = end;
  }
  scanner.end();
  return scanner;
}

/** Numbers from 0 to 1, the same for a seed. */
function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const strings = /"(?:[^"\\]|\\[\s\S])*"/g;

/** What strings hold is no business of the scanner, but for keys and the model. */
const withPlainStrings = (text: string): string =>
  text.replace(strings, (one) => JSON.stringify('x'.repeat(one.length)));

const parses = (text: string): boolean => {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
};

/**
 * The same question asked of JSON.parse and a list of tokens, which is enough where that has accepted
 * the text; null where only a string is not well-formed.
 */
function reference(given: string): Outcome | null {
  const text = given.startsWith('\ufeff') ? given.slice(1) : given;
  if (!parses(text)) return parses(withPlainStrings(text)) ? null : { valid: false, model: null };
  if (!/^[ \t\r\n]*\{/.test(text)) return { valid: false, model: null };
  const tokens = text.match(/"(?:[^"\\]|\\[\s\S])*"|[{}[\],:]|[^\s{}[\],:"]+/g)!;
  let depth = 0;
  let models = 0;
  let model: string | null = null;
  let valid = true;
  for (const [index, token] of tokens.entries()) {
    if (token === '{' || token === '[') depth++;
    else if (token === '}' || token === ']') depth--;
    else if (depth === 1 && tokens[index + 1] === ':') {
      const key = JSON.parse(token) as string;
      if (key.toLowerCase() !== 'model') continue;
      if (++models > 1) valid = false;
      if (key !== 'model' || models > 1) continue;
      const value = tokens[index + 2]!;
      if (value.startsWith('"')) model = JSON.parse(value) as string;
      else if (value !== 'null') valid = false;
    }
  }
  return { valid, model };
}

function document(random: () => number): string {
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
  const space = (): string => pick(['', '', '', ' ', '\n\t', '\r\n  ']);
  const spelled = (text: string): string =>
    `"${[...text].map((char) => (random() < 0.1 ? `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}` : JSON.stringify(char).slice(1, -1))).join('')}"`;
  const text = (): string =>
    spelled(
      pick([
        '',
        'a',
        'model',
        '","model":"x',
        '\\',
        '\\\\"',
        'é😀',
        '{[}]:,',
        'x'.repeat(70),
        '/*"*/',
      ]),
    );
  const value = (depth: number): string => {
    const kind = random();
    if (depth > 3 || kind < 0.35) return text();
    if (kind < 0.6) return pick(['0', '-1', '12.5e3', '1E-2', 'true', 'false', 'null', '-0.0']);
    const items = Array.from({ length: Math.floor(random() * 4) }, () => value(depth + 1));
    if (kind < 0.8) return `[${space()}${items.join(`${space()},${space()}`)}${space()}]`;
    return object(items.map((item) => [pick(['"model"', '"Model"', text()]), item]));
  };
  const object = (entries: string[][]): string =>
    `{${space()}${entries.map(([key, item]) => `${key}${space()}:${space()}${item}`).join(`${space()},${space()}`)}${space()}}`;
  const entries: string[][] = Array.from({ length: Math.floor(random() * 5) }, () => [
    pick([text(), '"stream"', '"messages"']),
    value(1),
  ]).filter(([key]) => (JSON.parse(key!) as string) !== 'model');
  for (let i = pick([0, 1, 1, 1, 2]); i > 0; i--) {
    const key = spelled(random() < 0.85 ? 'model' : pick(['Model', 'MODEL', 'models', 'mode']));
    const at = Math.floor(random() * (entries.length + 1));
    entries.splice(at, 0, [key, random() < 0.85 ? text() : value(1)]);
  }
  return (random() < 0.1 ? '\ufeff' : '') + space() + object(entries) + space();
}

/** The text with one byte of structure more, less or other, somewhere. */
function damaged(text: string, random: () => number): string {
  const at = Math.floor(random() * (text.length + 1));
  const byte = '{}[]:,"\'/0-.etfn \\'[Math.floor(random() * 18)]!;
  const kind = random();
  if (kind < 0.4) return text.slice(0, at) + byte + text.slice(at);
  if (kind < 0.7) return text.slice(0, at) + text.slice(at + 1);
  if (kind < 0.9) return text.slice(0, at) + byte + text.slice(at + 1);
  return text.slice(0, at);
}

test('a model is found, and a second one or what could hide one is, as JSON.parse reads it', () => {
  const encoder = new TextEncoder();
  const seen = { valid: 0, invalid: 0, undecided: 0 };
  for (let seed = 0; seed < 20_000; seed++) {
    const random = seeded(seed);
    let text = document(random);
    if (random() < 0.5) text = damaged(text, random);
    // Half of a surrogate pair is not sent as it stands.
    text = Buffer.from(text).toString();
    const expected = reference(text);
    if (expected === null) {
      seen.undecided++;
      continue;
    }
    const bytes = encoder.encode(text);
    for (const size of [0, 0, 1, bytes.length]) {
      const scanner = scan(bytes, random, size);
      const about = `seed ${seed}, size ${size}: ${text}`;
      const valid = scanner.state === ScanState.Done;
      assert.equal(valid, expected.valid, about);
      if (valid) assert.equal(scanner.model, expected.model, about);
    }
    seen[expected.valid ? 'valid' : 'invalid']++;
  }
  assert.ok(
    seen.valid > 6000 && seen.invalid > 4000 && seen.undecided < 2000,
    JSON.stringify(seen),
  );
});

const outcome = (text: string | Uint8Array): [ScanState, string | null, boolean] => {
  const bytes = typeof text === 'string' ? new TextEncoder().encode(text) : text;
  const all = [1, 2, 3, bytes.length].map((size) => {
    const { state, model, ambiguous } = scan(bytes, Math.random, size);
    return [state, model, ambiguous] as [ScanState, string | null, boolean];
  });
  for (const one of all) assert.deepEqual(one, all[0], 'it depends on where the bytes are cut');
  return all[0]!;
};

test('a second model hides behind an escape, another case, a NUL, or the end of the object', () => {
  for (const [text, model, ambiguous] of [
    ['{"model":"a","model":"b"}', 'a', true],
    ['{"model":"a","mod\\u0065l":"b"}', 'a', true],
    ['{"model":"a","Model":"b"}', 'a', true],
    ['{"MODEL":"b","model":"a"}', null, true],
    ['{"Model":"b","mODEL":"a"}', null, true],
    ['{"model":"a","model\\u0000x":"b"}', 'a', true],
    ['{"model":null,"model":"b"}', null, true],
    ['{"model":"a"} {"model":"b"}', 'a', false],
    ['{"model":"a"}\n[', 'a', false],
    ['{"model":"a"}\0', 'a', false],
    ['{"model":"a","x":[/*"*/1],"model":"b"/*"*/}', 'a', false],
    ['{"model":"a",\'x\':1}', 'a', false],
    ['{"model":"a","x":[1,],"y":{}}', 'a', false],
    ['{"model":"a","x":[1}}', 'a', false],
    ['{"model":"a","x":{"y":1]}', 'a', false],
    ['{"model":"a","x":truefalse}', 'a', false],
    ['{"model":"a","x":01}', 'a', false],
    ['{"model":"a"', 'a', false],
    ['{"model":1,"model":"a"}', null, false],
  ] as const) {
    assert.deepEqual(outcome(text), [ScanState.Invalid, model, ambiguous], text);
  }
});

test('what only looks like a second model is none', () => {
  for (const [text, model] of [
    ['{"x":{"model":"b","model":"c"},"model":"a","y":[{"model":"d"}]}', 'a'],
    ['{"x":"\\",\\"model\\":\\"b","model":"a"}', 'a'],
    ['{"models":"b","mode":"c"," model":"d","model":"a"}', 'a'],
    ['\ufeff {"model":"a"} \r\n', 'a'],
    ['{"model":"\\ud83d\\ude00\\ud800"}', '😀\ud800'],
    ['{"model":"a","x":"model"}', 'a'],
    // One key that only some take for the model is no model here.
    ['{"Model":"b"}', null],
  ] as const) {
    assert.deepEqual(outcome(text), [ScanState.Done, model, false], text);
  }
});

test('a byte order mark inside a key made another key the model', () => {
  assert.deepEqual(outcome('{"\ufeffmodel":"b","model":"a"}'), [ScanState.Done, 'a', false]);
});

test('names that are no UTF-8 are no names', () => {
  const bytes = Buffer.from('{"model":"a\xff"}', 'latin1');
  assert.equal(outcome(bytes)[0], ScanState.Invalid);
  assert.equal(outcome(Buffer.from('\xff\xfe{\0"\0', 'latin1'))[0], ScanState.Invalid);
  assert.equal(outcome(Buffer.from('{\0"\0m\0', 'latin1'))[0], ScanState.Invalid);
});

test('an empty body is no JSON, and no bad JSON either', () => {
  assert.equal(new JsonScanner().end(), ScanState.More);
});
