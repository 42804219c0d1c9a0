/** The parsers against the slow reference, each stream also cut at random. */
import { type Expected, type Kind, type Transcript, transcribe } from '../corpus/transcript.ts';
import { generate } from './generate.ts';
import { Random } from './random.ts';
import { parseReference, type ReferenceMessage } from './reference.ts';
import type { Fuzzer, FuzzOptions, FuzzResult } from './registry.ts';
import { shrink } from './shrink.ts';

/** What is compared; everything a parser can say about complete messages and the end. */
export interface Verdict {
  messages: ReferenceMessage[];
  outcome: 'done' | 'incomplete' | 'refused';
}

export type Subject = (kind: Kind, text: string, expected: readonly Expected[]) => Verdict;

export function verdictOf(run: Transcript): Verdict {
  const messages: ReferenceMessage[] = [];
  for (const message of run.messages) {
    if (!message.complete && !message.interim) continue;
    messages.push({
      line: message.line,
      version: message.version,
      fields: message.fields,
      contentLength: message.contentLength,
      keepAlive: message.keepAlive,
      upgrade: message.upgrade,
      expectContinue: message.expectContinue,
      interim: message.interim,
      body: message.body,
      trailers: message.trailers,
    });
  }
  const { finish } = run;
  if (run.error !== '') return { messages, outcome: 'refused' };
  // A response that is still awaited is nobody's fault here.
  const done = finish === 'idle' || finish === 'end' || finish === 'closed';
  return {
    messages,
    outcome: done || finish === 'ClosedBeforeHead' ? 'done' : 'incomplete',
  };
}

/** The parsers as shipped, fed whole. */
export const shipped: Subject = (kind, text, expected) =>
  verdictOf(transcribe(kind, [Buffer.from(text, 'latin1')], expected));

function sameList(left: readonly string[], right: readonly string[]): boolean {
  if (left.length !== right.length) return false;
  for (let i = 0; i < left.length; i++) if (left[i] !== right[i]) return false;
  return true;
}

/** Name of the first property in which two messages differ, or ''. */
function messageDiffers(left: ReferenceMessage, right: ReferenceMessage): string {
  if (left.line !== right.line) return 'line';
  if (left.version !== right.version) return 'version';
  if (!sameList(left.fields, right.fields)) return 'fields';
  if (left.contentLength !== right.contentLength) return 'contentLength';
  if (left.keepAlive !== right.keepAlive) return 'keepAlive';
  if (left.upgrade !== right.upgrade) return 'upgrade';
  if (left.expectContinue !== right.expectContinue) return 'expectContinue';
  if (left.interim !== right.interim) return 'interim';
  if (left.body !== right.body) return 'body';
  return sameList(left.trailers, right.trailers) ? '' : 'trailers';
}

/** Ways a cut-off stream might go on. */
const COMPLETIONS = [
  '\n',
  '\r\n',
  '\r\n\r\n',
  'a\r\n\r\n',
  '\r\n0\r\n\r\n',
  '0\r\n\r\n',
  'aaaaaaaaaa',
];

/** Why subject and reference disagree about `text`; '' when they agree. */
export function disagreement(
  kind: Kind,
  text: string,
  expected: readonly Expected[],
  got: Verdict,
): string {
  const want = parseReference(kind, text, expected);
  if (got.messages.length !== want.messages.length) {
    return `${got.messages.length} messages (${got.outcome}), reference ${want.messages.length} (${want.outcome})`;
  }
  for (let i = 0; i < want.messages.length; i++) {
    const differs = messageDiffers(got.messages[i]!, want.messages[i]!);
    if (differs !== '') return `message ${i}: ${differs}`;
  }
  if (got.outcome === want.outcome) return '';
  if (got.outcome === 'refused' && want.outcome === 'incomplete') {
    // Refused before the reference, which judges whole lines: right if no continuation is accepted.
    for (const completion of COMPLETIONS) {
      const more = parseReference(kind, text + completion, expected);
      if (more.messages.length > want.messages.length) {
        return `refused, but the reference accepts it with ${JSON.stringify(completion)}`;
      }
    }
    return '';
  }
  return `${got.outcome}, reference ${want.outcome}`;
}

const EXPECTATIONS: readonly Expected[][] = [
  [{}, {}, {}],
  [{}, {}, {}],
  [{ isHead: true }, {}],
  [{ isConnect: true }, {}],
  [{ offersUpgrade: true }, { isHead: true }],
];

/** Two to five pieces. */
function* pieces(random: Random, bytes: Buffer): Generator<Uint8Array> {
  let from = 0;
  for (let left = 1 + random.below(4); left > 0 && from < bytes.length; left--) {
    const to = from + random.below(bytes.length - from + 1);
    yield bytes.subarray(from, to);
    from = to;
  }
  yield bytes.subarray(from);
}

function splitDiffers(random: Random, kind: Kind, text: string, expected: Expected[]): string {
  const bytes = Buffer.from(text, 'latin1');
  const whole = JSON.stringify(transcribe(kind, [bytes], expected));
  const cut = JSON.stringify(transcribe(kind, pieces(random, bytes), expected));
  return whole === cut ? '' : `cut: ${cut} whole: ${whole}`;
}

/** Runs `subject` against the reference. */
export function runAgainstReference(
  kind: Kind,
  subject: Subject,
  options: FuzzOptions,
): FuzzResult {
  const result: FuzzResult = { runs: 0, failures: [], explained: {} };
  for (let i = options.from; i < options.from + options.runs; i++) {
    const random = Random.at(options.seed, i);
    const text = generate(random, kind);
    const expected = kind === 'request' ? [] : random.pick(EXPECTATIONS);
    const judge = (input: string): string =>
      disagreement(kind, input, expected, subject(kind, input, expected));
    let reason = judge(text);
    let input = text;
    if (reason !== '') input = shrink(text, (shorter) => judge(shorter) !== '');
    // Every fourth message is also cut; the whole result is the yardstick.
    else if (subject === shipped && i % 4 === 0) {
      reason = splitDiffers(random, kind, text, expected);
    }
    result.runs++;
    if (reason !== '') {
      result.failures.push({ index: i, input, reason });
      options.found?.(result.failures.at(-1)!);
      if (result.failures.length >= options.failuresMax) break;
    }
    if ((i & 0xffff) === 0xffff) options.progress?.(result.runs);
  }
  return result;
}

export const referenceRequests: Fuzzer = {
  name: 'reference-requests',
  about: 'request parser against the slow reference parser, whole and cut',
  unavailable: '',
  run: async (options) => runAgainstReference('request', shipped, options),
};

export const referenceResponses: Fuzzer = {
  name: 'reference-responses',
  about: 'response parser against the slow reference parser, whole and cut',
  unavailable: '',
  run: async (options) => runAgainstReference('response', shipped, options),
};
