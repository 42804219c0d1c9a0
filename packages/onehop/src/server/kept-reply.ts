import { type Framing, PreparedHead } from '../http1/index.ts';

/** What decides, beside the fields, how the head of a response reads. */
export interface ReplyTraits {
  readonly isHead: boolean;
  readonly versionMinor: number;
}

/**
 * The head of a response that is sent again and again, alike but for the value of one field and the
 * Date. `startHead` fills it, `startAgain` uses it. Whoever hands it in answers for the rest: status,
 * fields and length are the same each time.
 */
export class KeptReply implements ReplyTraits {
  readonly fieldName: string;
  head: PreparedHead | null = null;
  status = 0;
  framing: Framing = 0;
  contentLength = 0;
  isHead = false;
  versionMinor = 0;
  /** The Date line in it; empty when the fields bring one. */
  date = '';

  /** `fieldName`: the field that differs, as the response spells it. */
  constructor(fieldName: string) {
    this.fieldName = fieldName;
  }

  /** `date`: the server's Date line of this second. */
  fits(traits: ReplyTraits, value: string, date: string): boolean {
    return (
      this.head !== null &&
      (this.date === date || this.date === '') &&
      this.isHead === traits.isHead &&
      this.versionMinor === traits.versionMinor &&
      this.head.fits(value)
    );
  }

  /** `text` is what the head writer made. */
  keep(text: string, value: string): void {
    this.head = PreparedHead.of(text, this.fieldName, value);
  }
}
