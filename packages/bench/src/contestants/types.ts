/**
 * What the study swaps: the HTTP client inside the API server. Everything else stays fixed. An
 * adapter is at most about 60 lines, is shown in the report and must pass the fairness audit.
 */

export type Runtime = 'node' | 'bun' | 'python';
export type ReuseMode = 'shared' | 'per-request';
/** What is forwarded: the study's own message, or a chat completion of an OpenAI-shaped upstream. */
export type StudyCase = 'message' | 'chat';
export type UpstreamProtocol = 'http/1.1' | 'h2c';

export interface ForwarderOptions {
  /** Base URL of the upstream, with trailing slash. */
  baseUrl: string;
  /** Upper bound of upstream connections: the same for every contestant. */
  connectionsMax: number;
  /** Give up on an answer after this long; the API then answers 502. */
  timeoutMs: number;
}

/** One constructed client. In `per-request` mode it serves a single request and is closed. */
export interface Forwarder {
  /**
   * GETs `path` below the base URL, reads the whole body and parses it as JSON.
   * Rejects when the upstream cannot be reached, the status is not 2xx or the body is not JSON.
   */
  getJson(path: string): Promise<unknown>;
  /** Closes idle connections and frees the client. */
  close(): Promise<void> | void;
}

/** What is known of a contestant without loading its client; Python peers have only this half. */
export interface ContestantInfo {
  /** Name in URLs, file names and reports: lower case, digits and dashes. */
  readonly name: string;
  /** npm or PyPI package whose installed version is recorded; null when built into the runtime. */
  readonly package: string | null;
  readonly runtimes: readonly Runtime[];
  readonly modes: readonly ReuseMode[];
  readonly protocol: UpstreamProtocol;
  /** One line for the report: which call is used and what had to be set to make it fair. */
  readonly note: string;
}

export interface Contestant extends ContestantInfo {
  open(options: ForwarderOptions): Forwarder | Promise<Forwarder>;
}

/** The same for the chat case: POSTs a prompt to an OpenAI-shaped upstream, takes the text out. */
export interface ChatForwarder {
  /** Rejects as {@link Forwarder.getJson}, also when the body is no completion with a text. */
  complete(prompt: string): Promise<string>;
  close(): Promise<void> | void;
}

export interface ChatContestant extends ContestantInfo {
  open(options: ForwarderOptions): ChatForwarder | Promise<ChatForwarder>;
}
