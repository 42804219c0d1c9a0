/** What a caller of the storm is doing when it vanishes; shared by callers and upstream. */

/** Values of a run that has the whole of an exchange to vanish in. */
export const phases = [
  /** Connected, maybe; nothing was sent. */
  'connect',
  /** Half of a request head was sent. */
  'half-head',
  /** The request was just sent: the gateway reads it, picks, connects. */
  'early',
  /** Waits for the answer to a GET. */
  'wait',
  /** Waits for the answer to a POST. */
  'json',
  /** Has the response head, no body. */
  'head',
  /** Has a part of a body with a length. */
  'body',
  /** Reads an event stream. */
  'stream',
  /** Sends a body of which the rest never comes. */
  'upload',
  /** Waits in the gateway's queue: the upstream takes few at once. */
  'queue',
  /** Its target does not answer to a connect. */
  'connecting',
] as const;
export type StormPhase = (typeof phases)[number];

/** Those in which the upstream has the request. */
export const openPhases: readonly StormPhase[] = [
  ...['wait', 'json', 'head', 'body', 'stream', 'upload'],
] as StormPhase[];

export interface Kill {
  id: number;
  phase: StormPhase;
  reset: boolean;
  /** {@link wallMs} */
  killedMs: number;
  /** What went wrong before it could be killed; null as it should be. */
  fault: string | null;
}

export interface UpstreamSight {
  id: number;
  arrivedMs: number;
  /** Null while it is open. */
  closedMs: number | null;
}

/** Milliseconds that all processes of one machine agree on, finer than Date.now(). */
export const wallMs = (): number => performance.timeOrigin + performance.now();

/** Numerical Recipes' generator: reproducible storms. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 0x1_0000_0000;
  };
}

export const pause = (ms: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, ms));
