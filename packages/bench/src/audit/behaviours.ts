/** What an observing upstream can be told to do with the next request. */
import { chatPath } from '../contestants/index.ts';

export type BehaviourKind =
  /** Answers 200 with `{"message":"m-<n>"}`, n counting requests. */
  | 'answer'
  /** The same with a message of 200 KB, in several writes. */
  | 'large'
  /** Head and half of the body at once, the rest after the delay. */
  | 'slow-body'
  /** 302 to a path that would answer properly. */
  | 'redirect'
  /** 503 with `Retry-After: 0`. */
  | 'unavailable'
  /** Drops the connection instead of an answer. */
  | 'reset'
  /** Drops the connection after half of the body. */
  | 'reset-mid-body'
  /** 200 with a body that is not JSON. */
  | 'invalid-json'
  /** Ends the connection in order, but before the body is as long as Content-Length says. */
  | 'truncated'
  /** Ends a chunked body without its last chunk; what came until then is valid JSON. */
  | 'truncated-chunked'
  /** Never answers. */
  | 'stall'
  /** Head and half of the body, then nothing. */
  | 'stall-mid-body';

export interface Behaviour {
  kind: BehaviourKind;
  delayMs: number;
}

/** The behaviour as given, or a kind alone. */
export type BehaviourInput = BehaviourKind | Behaviour;

export interface Observation {
  /** Requests to the path of the case. */
  requests: number;
  /** Requests to anything else: a followed redirect. */
  elsewhere: number;
  connectionsOpened: number;
  connectionsOpen: number;
  /** Most connections that were open at the same time. */
  connectionsPeak: number;
  /** Most requests that were waiting for their answer at the same time. */
  concurrencyPeak: number;
  /** Requests that arrived on a connection before the answer to the one before was sent. */
  pipelined: number;
  /** Head of the last of these, as text; header names as sent. */
  lastHead: string;
}

export interface Observer {
  /** With trailing slash. */
  readonly baseUrl: string;
  /** Sets what happens to the next requests, one each; afterwards requests are answered. */
  behave(...behaviours: BehaviourInput[]): void;
  /** Starts a new observation; open connections stay counted as open. */
  reset(): void;
  seen(): Observation;
  /** Stops listening and drops all connections: further requests are refused. */
  close(): Promise<void>;
}

/** What is asked of the upstream, and how its answer carries a message. */
export interface AskedCase {
  method: 'GET' | 'POST';
  path: string;
  answer(message: string): unknown;
}

export const messageCase: AskedCase = {
  method: 'GET',
  path: '/request_response/',
  answer: (message) => ({ message }),
};

export const chatCase: AskedCase = {
  method: 'POST',
  path: `/${chatPath}`,
  answer: (content) => ({
    id: 'chatcmpl-1',
    object: 'chat.completion',
    created: 0,
    model: 'mock',
    choices: [{ index: 0, message: { role: 'assistant', content }, finish_reason: 'stop' }],
  }),
};

export const redirectPath = '/elsewhere/';
export const largeMessage = 'x'.repeat(200_000);

/** The queue of behaviours and the counters, the same for every protocol. */
export class ObserverState {
  readonly counters: Observation = {
    requests: 0,
    elsewhere: 0,
    connectionsOpened: 0,
    connectionsOpen: 0,
    connectionsPeak: 0,
    concurrencyPeak: 0,
    pipelined: 0,
    lastHead: '',
  };
  private next: BehaviourInput[] = [];
  private waiting = 0;
  private answers = 0;
  private readonly asked: AskedCase;

  constructor(asked: AskedCase = messageCase) {
    this.asked = asked;
  }

  behave(behaviours: BehaviourInput[]): void {
    this.next = [...behaviours];
  }

  reset(): void {
    const { connectionsOpen } = this.counters;
    Object.assign(this.counters, {
      requests: 0,
      elsewhere: 0,
      connectionsOpened: 0,
      connectionsPeak: connectionsOpen,
      concurrencyPeak: this.waiting,
      pipelined: 0,
      lastHead: '',
    });
  }

  connectionOpened(): void {
    const { counters } = this;
    counters.connectionsOpened++;
    counters.connectionsOpen++;
    counters.connectionsPeak = Math.max(counters.connectionsPeak, counters.connectionsOpen);
  }

  connectionClosed(): void {
    this.counters.connectionsOpen--;
  }

  /** A request came in: what to do with it. Pair with {@link requestEnded}. */
  requestArrived(path: string, head: string): Behaviour {
    this.waiting++;
    this.counters.concurrencyPeak = Math.max(this.counters.concurrencyPeak, this.waiting);
    if (path !== this.asked.path) {
      this.counters.elsewhere++;
      return { kind: 'answer', delayMs: 0 };
    }
    this.counters.requests++;
    this.counters.lastHead = head;
    const next = this.next.shift() ?? 'answer';
    return typeof next === 'string' ? { kind: next, delayMs: 0 } : next;
  }

  requestEnded(): void {
    this.waiting--;
  }

  bodyFor(kind: BehaviourKind): string {
    if (kind === 'invalid-json') return '{"message": "cut';
    if (kind === 'large') return JSON.stringify(this.asked.answer(largeMessage));
    this.answers++;
    return JSON.stringify(this.asked.answer(`m-${this.answers}`));
  }
}
