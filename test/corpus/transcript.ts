/**
 * What a parser makes of a stream of bytes, written down so that two ways of feeding it, or two
 * parsers, can be compared.
 */
import {
  type Framing,
  PARSE_ERRORS,
  type ParserLimits,
  Read,
  RequestParser,
  ResponseParser,
} from 'onehop/http1';

export interface Message {
  /** `GET /x` or `200`. */
  line: string;
  version: string;
  fields: string[];
  framing: Framing;
  contentLength: number;
  keepAlive: boolean;
  upgrade: boolean;
  expectContinue: boolean;
  authority: string;
  interim: boolean;
  body: string;
  trailers: string[];
  complete: boolean;
}

export interface Transcript {
  messages: Message[];
  /** Name of the parse error, or '' */
  error: string;
  /** Bytes behind the last message that were not read (the connection was to close, or a tunnel). */
  rest: number;
  /** What `finish` would say: `idle`, `end` or the name of an error. Only when asked for. */
  finish: string;
}

/** What is expected of one response. */
export interface Expected {
  isHead?: boolean;
  isConnect?: boolean;
  offersUpgrade?: boolean;
}

const errorName = (code: number): string => PARSE_ERRORS[code]!.name;

const blank = (): Message => ({
  line: '',
  version: '',
  fields: [],
  framing: 0,
  contentLength: -1,
  keepAlive: false,
  upgrade: false,
  expectContinue: false,
  authority: '',
  interim: false,
  body: '',
  trailers: [],
  complete: false,
});

function describeHead(parser: RequestParser | ResponseParser, interim: boolean): Message {
  const { head } = parser;
  const message = blank();
  message.version = `1.${head.versionMinor}`;
  message.fields = head.rawPairs();
  message.framing = head.framing;
  message.contentLength = head.contentLength;
  message.keepAlive = head.keepAlive;
  message.upgrade = head.upgrade;
  message.interim = interim;
  if (parser instanceof RequestParser) {
    message.line = `${parser.head.method} ${parser.head.target}`;
    message.expectContinue = parser.head.expectContinue;
    message.authority = parser.head.authority;
  } else {
    message.line = `${parser.head.status}`;
  }
  return message;
}

/** A parser of either kind and the rule for going on after a message. */
class Run {
  readonly parser: RequestParser | ResponseParser;
  readonly transcript: Transcript = { messages: [], error: '', rest: 0, finish: '' };
  private readonly expected: readonly Expected[];
  private begun = 0;
  private current: Message | null = null;
  private stopped = false;

  constructor(parser: RequestParser | ResponseParser, expected: readonly Expected[]) {
    this.parser = parser;
    this.expected = expected;
    this.next();
  }

  private next(): boolean {
    const { parser } = this;
    if (parser instanceof RequestParser) {
      parser.begin();
      return true;
    }
    const expected = this.expected[this.begun++];
    if (expected === undefined) return false;
    parser.begin(expected.isHead, expected.isConnect, expected.offersUpgrade);
    return true;
  }

  push(bytes: Uint8Array): void {
    const { parser, transcript } = this;
    if (transcript.error !== '') return;
    let at = 0;
    // A copy that is overwritten afterwards shows whether the parser clings to borrowed bytes.
    const lent = Buffer.from(bytes);
    while (!this.stopped) {
      const read = parser.read(lent, at, lent.length);
      if (read === Read.NeedMore) break;
      if (read === Read.Error) {
        transcript.error = errorName(parser.errorCode);
        this.stopped = true;
        return;
      }
      at = parser.position;
      if (read === Read.Head || read === Read.Interim) {
        this.current = describeHead(parser, read === Read.Interim);
        transcript.messages.push(this.current);
      } else if (read === Read.Body) {
        this.current!.body += lent.toString('latin1', parser.bodyStart, parser.bodyEnd);
      } else {
        this.end();
        if (this.stopped) transcript.rest += lent.length - at;
        lent.fill(0x58, 0, at);
      }
    }
    if (this.stopped && at === 0) transcript.rest += lent.length;
    lent.fill(0x58);
  }

  private end(): void {
    const message = this.current!;
    message.complete = true;
    message.trailers = this.parser.trailers.rawPairs();
    const goOn = message.keepAlive && message.framing !== 4 /* Tunnel */;
    if (!goOn || !this.next()) this.stopped = true;
  }

  finish(): void {
    const { transcript } = this;
    if (this.stopped) {
      transcript.finish = transcript.error === '' ? 'closed' : transcript.error;
      return;
    }
    const read = this.parser.finish();
    if (read === Read.End) {
      this.current!.complete = true;
      transcript.finish = 'end';
    } else {
      transcript.finish = read === Read.Error ? errorName(this.parser.errorCode) : 'idle';
    }
  }
}

export type Kind = 'request' | 'response';

/** Feeds the pieces in order; the last one is followed by `finish`. */
export function transcribe(
  kind: Kind,
  pieces: Iterable<Uint8Array>,
  expected: readonly Expected[] = [{}],
  limits?: ParserLimits,
): Transcript {
  const parser = kind === 'request' ? new RequestParser(limits) : new ResponseParser(limits);
  const run = new Run(parser, expected);
  for (const piece of pieces) run.push(piece);
  run.finish();
  return run.transcript;
}

/** The bytes one at a time. */
export function* single(bytes: Uint8Array): Generator<Uint8Array> {
  for (let i = 0; i < bytes.length; i++) yield bytes.subarray(i, i + 1);
}

/**
 * Where to cut in two: everywhere up to `wholeMax` bytes; in longer inputs at the first and last
 * offsets and evenly between (every offset of a megabyte would be 10^12 bytes of work).
 */
export function cuts(length: number, wholeMax = 3000): number[] {
  const at: number[] = [];
  if (length <= wholeMax) {
    for (let i = 1; i < length; i++) at.push(i);
    return at;
  }
  const edge = Math.min(length > 20_000 ? 100 : 400, Math.floor(length / 2));
  for (let i = 1; i <= edge; i++) at.push(i, length - i);
  const between = length > 20_000 ? 60 : 200;
  const step = Math.max(1, Math.floor((length - 2 * edge) / between));
  for (let i = edge + 1; i < length - edge; i += step) at.push(i);
  return at;
}
