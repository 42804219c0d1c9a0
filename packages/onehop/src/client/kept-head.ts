import { PreparedHead } from '../http1/index.ts';
import type { Origin } from './origin.ts';
import type { DispatchRequest } from './types.ts';

/**
 * The head of a request that is sent again and again to one origin, alike but for the value of one
 * field. Whoever hands it to `dispatch` answers for that: method, fields, body length, all the same.
 */
export class KeptHead {
  readonly #fieldName: string;
  #origin: Origin | null = null;
  #target = '';
  #head: PreparedHead | null = null;

  /** `fieldName`: the field that differs, as the request spells it. */
  constructor(fieldName: string) {
    this.#fieldName = fieldName;
  }

  /** The head for `request`; null when it has to be made. */
  find(origin: Origin, request: DispatchRequest): PreparedHead | null {
    const head = this.#head;
    return head !== null &&
      this.#origin === origin &&
      this.#target === request.target &&
      head.fits(request.slot!)
      ? head
      : null;
  }

  /** `text` is what the head writer made of `request`. */
  keep(origin: Origin, request: DispatchRequest, text: string): void {
    this.#origin = origin;
    this.#target = request.target;
    this.#head = PreparedHead.of(text, this.#fieldName, request.slot!);
  }
}
