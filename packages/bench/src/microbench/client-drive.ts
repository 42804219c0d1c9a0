/** What the contenders of `bench:client` have in common: how they are opened and driven. */

export interface ContenderOptions {
  host: string;
  port: number;
  path: string;
  /** Length that every body must have. */
  bodyBytes: number;
  connectionsMax: number;
}

/**
 * Runs `concurrency` chains of requests, each of at least one and until `isOver`; resolves with how
 * many were answered. Rejects when an answer is not a 200 with the whole body.
 */
export type Drive = (concurrency: number, isOver: () => boolean) => Promise<number>;

export interface OpenContender {
  drive: Drive;
  close(): unknown;
}

/** Connects to nothing yet. */
export type Open = (options: ContenderOptions) => OpenContender;

/** What came back. */
export interface Answer {
  status: number;
  bytes: number;
}

/** What is wrong with an answer, or null. */
export function faultOf({ status, bytes }: Answer, { bodyBytes }: ContenderOptions): Error | null {
  if (status === 200 && bytes === bodyBytes) return null;
  return new Error(`answered ${status} with ${bytes} bytes, not 200 with ${bodyBytes}`);
}

/** Drives a promise-shaped client. */
export function drivePromises(once: () => Promise<Answer>, options: ContenderOptions): Drive {
  const chain = async (isOver: () => boolean): Promise<number> => {
    let answered = 0;
    do {
      const fault = faultOf(await once(), options);
      if (fault !== null) throw fault;
      answered++;
    } while (!isOver());
    return answered;
  };
  return async (concurrency, isOver) => {
    const chains = Array.from({ length: concurrency }, () => chain(isOver));
    return (await Promise.all(chains)).reduce((sum, count) => sum + count, 0);
  };
}

/** Drives a callback-shaped client: `start` sends one request and calls back at its end. */
export function driveCallbacks(start: (done: (error: unknown) => void) => void): Drive {
  return (concurrency, isOver) =>
    new Promise((resolve, reject) => {
      let answered = 0;
      let running = concurrency;
      const next = (error: unknown): void => {
        if (error) {
          reject(error);
          return;
        }
        answered++;
        if (isOver()) {
          if (--running === 0) resolve(answered);
        } else start(next);
      };
      for (let i = 0; i < concurrency; i++) start(next);
    });
}
