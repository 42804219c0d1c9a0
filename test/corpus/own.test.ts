/**
 * The project's own cases, each derived from the rule it names: every variant, the boundary of every
 * limit, combinations on one connection. `parts` are latin1 strings, or [string, times].
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadJson } from './load.ts';
import {
  cuts,
  type Expected,
  type Kind,
  type Message,
  single,
  type Transcript,
  transcribe,
} from './transcript.ts';

interface OwnCase {
  id: string;
  rule: string;
  title: string;
  parts: (string | [string, number])[];
  /** Name of the parse error the stream ends in. */
  error?: string;
  /** `METHOD target` or status of every head, in order. */
  accept: string[];
  bodies?: string[];
  trailers?: string[];
  /** Properties of the last head. */
  last?: Partial<Message>;
  finish?: string;
  rest?: number;
  expected?: Expected[];
}

const bytesOf = ({ parts }: OwnCase): Buffer =>
  Buffer.from(
    parts.map((part) => (typeof part === 'string' ? part : part[0].repeat(part[1]))).join(''),
    'latin1',
  );

/** Long texts are given by their length. */
const isText = (want: string, got: string): boolean =>
  want.startsWith('length:') ? got.length === Number(want.slice(7)) : want === got;

function differs(entry: OwnCase, run: Transcript): string {
  if (run.error !== (entry.error ?? '')) return `error ${run.error || 'none'}`;
  const got = run.messages;
  if (got.length !== entry.accept.length) return `${got.length} heads`;
  for (const [i, line] of entry.accept.entries()) {
    if (!isText(line, got[i]!.line)) return `head ${i} is ${got[i]!.line.slice(0, 80)}`;
  }
  for (const [i, body] of (entry.bodies ?? []).entries()) {
    if (!isText(body, got[i]!.body)) return `body ${i} is ${JSON.stringify(got[i]!.body)}`;
  }
  const last = got.at(-1);
  for (const [key, value] of Object.entries(entry.last ?? {})) {
    if (last![key as keyof Message] !== value) return `${key} is ${last![key as keyof Message]}`;
  }
  if (entry.trailers !== undefined) {
    const same =
      last!.trailers.length === entry.trailers.length &&
      entry.trailers.every((text, i) => isText(text, last!.trailers[i]!));
    if (!same) return `trailers are ${last!.trailers.join('|').slice(0, 200)}`;
  }
  if (entry.finish !== undefined) {
    if (run.finish !== entry.finish) return `finish is ${run.finish}`;
  } else if (entry.error === undefined && last!.complete === false) return 'incomplete';
  return entry.rest === undefined || run.rest === entry.rest ? '' : `rest is ${run.rest}`;
}

for (const kind of ['request', 'response'] as const satisfies Kind[]) {
  const cases = loadJson<OwnCase[]>(`own-${kind}s.json`);

  test(`the ${cases.length} own ${kind} cases are decided as written`, () => {
    const wrong = cases
      .map((entry) => {
        const reason = differs(entry, transcribe(kind, [bytesOf(entry)], entry.expected));
        return reason === '' ? '' : `${entry.id} ${entry.title}: ${reason}`;
      })
      .filter((text) => text !== '');
    assert.deepEqual(wrong, []);
    assert.equal(new Set(cases.map(({ id }) => id)).size, cases.length);
  });

  test(`the own ${kind} cases give one result however they are cut`, () => {
    for (const entry of cases) {
      const bytes = bytesOf(entry);
      const whole = transcribe(kind, [bytes], entry.expected);
      assert.deepEqual(transcribe(kind, single(bytes), entry.expected), whole, entry.id);
      for (const at of cuts(bytes.length, 400)) {
        const pieces = [bytes.subarray(0, at), bytes.subarray(at)];
        const cut = transcribe(kind, pieces, entry.expected);
        assert.deepEqual(cut, whole, `${entry.id} cut at ${at}`);
      }
    }
  });
}
