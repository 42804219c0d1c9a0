/** Server-sent events, as the HTML standard (section 9.2.6) has them interpreted. */
import { OnehopError } from '../core/index.ts';

export interface ServerSentEvent {
  /** `message` unless the stream named another type. */
  event: string;
  data: string;
  /** The last `id` seen so far in the stream; empty when there was none. */
  id: string;
  /** Reconnection time in ms when the stream has set one, else null. */
  retryMs: number | null;
}

/** Characters of one event, its type and id included, beyond which the stream is refused. */
export const sseEventCharsMax = 1024 * 1024;

const CR = 13;
const LF = 10;

/** Push parser: bytes in, split anywhere; events out through `next`. */
export class SseParser {
  readonly #eventCharsMax: number;
  readonly #decoder = new TextDecoder('utf-8');
  readonly #events: ServerSentEvent[] = [];
  #taken = 0;
  #rest = '';
  /** The last line ended in CR: an LF that comes first is a part of that end. */
  #skipLf = false;
  #data: string | null = null;
  #event = '';
  #id = '';
  #retryMs: number | null = null;

  constructor(eventCharsMax: number = sseEventCharsMax) {
    this.#eventCharsMax = eventCharsMax;
  }

  /** Takes bytes of the stream. Throws RESPONSE_TOO_LARGE when one event exceeds the bound. */
  push(bytes: Uint8Array): void {
    this.#feed(this.#decoder.decode(bytes, { stream: true }));
  }

  /** The oldest event not taken yet; null when there is none. An event without its end is dropped. */
  next(): ServerSentEvent | null {
    if (this.#taken < this.#events.length) {
      const event = this.#events[this.#taken++]!;
      if (this.#taken === this.#events.length) {
        this.#events.length = 0;
        this.#taken = 0;
      }
      return event;
    }
    return null;
  }

  #feed(added: string): void {
    if (added === '') return;
    let at = 0;
    if (this.#skipLf) {
      this.#skipLf = false;
      if (added.charCodeAt(0) === LF) at = 1;
    }
    // Only what was added is searched: the rest held no line end.
    let text = added;
    let start = at;
    if (this.#rest !== '') {
      const kept = this.#rest.length;
      text = this.#rest + added.slice(at);
      start = 0;
      at = kept;
      this.#rest = '';
    }
    for (; at < text.length; at++) {
      const c = text.charCodeAt(at);
      if (c !== CR && c !== LF) continue;
      this.#line(text, start, at);
      if (c === CR) {
        if (at + 1 === text.length) this.#skipLf = true;
        else if (text.charCodeAt(at + 1) === LF) at++;
      }
      start = at + 1;
    }
    this.#rest = text.slice(start);
    this.#checkSize(this.#rest.length);
  }

  #checkSize(more: number): void {
    if ((this.#data?.length ?? 0) + this.#event.length + more <= this.#eventCharsMax) return;
    throw new OnehopError(
      'RESPONSE_TOO_LARGE',
      `a server-sent event is longer than ${this.#eventCharsMax} characters`,
      { phase: 'body' },
    );
  }

  #line(text: string, start: number, end: number): void {
    if (start === end) {
      this.#dispatch();
      return;
    }
    const colon = text.indexOf(':', start);
    if (colon === start) return; // a comment
    const nameEnd = colon < 0 || colon >= end ? end : colon;
    let valueStart = nameEnd < end ? nameEnd + 1 : end;
    if (valueStart < end && text.charCodeAt(valueStart) === 32) valueStart++;
    this.#field(text.slice(start, nameEnd), text.slice(valueStart, end));
  }

  #field(name: string, value: string): void {
    switch (name) {
      case 'data':
        this.#checkSize(value.length);
        this.#data = this.#data === null ? value : `${this.#data}\n${value}`;
        return;
      case 'event':
        this.#checkSize(value.length);
        this.#event = value;
        return;
      case 'id':
        if (!value.includes('\0')) this.#id = value;
        return;
      case 'retry':
        if (isDigits(value)) this.#retryMs = Number(value);
        return;
      default:
    }
  }

  #dispatch(): void {
    const data = this.#data;
    const event = this.#event;
    this.#data = null;
    this.#event = '';
    // No data field: no event. An empty one is an event with empty data.
    if (data === null) return;
    this.#events.push({
      event: event === '' ? 'message' : event,
      data,
      id: this.#id,
      retryMs: this.#retryMs,
    });
  }
}

function isDigits(text: string): boolean {
  if (text === '') return false;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c < 48 || c > 57) return false;
  }
  return true;
}
