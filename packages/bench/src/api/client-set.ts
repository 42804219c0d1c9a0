/** The contestants of one API process: opened when first used, shared or built for each request. */

import type { ContestantInfo, ForwarderOptions, ReuseMode } from '../contestants/index.ts';

/** A contestant of one case: what it opens is a `Forwarder` or a `ChatForwarder`. */
interface Openable<F> extends ContestantInfo {
  open(options: ForwarderOptions): F | Promise<F>;
}

interface Closable {
  close(): Promise<void> | void;
}

export interface ClientSet<F> {
  /** Has the named client do `work`, and rejects as it does. One function for all requests. */
  use<T>(client: string, work: (forwarder: F) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

/** A contestant that was asked for in a mode it does not have. */
export class ModeUnsupportedError extends Error {
  override readonly name = 'ModeUnsupportedError';
}

/** Nothing is opened yet. `use` must only be called with names that `find` knows. */
export function createClientSet<F extends Closable>(
  reuse: ReuseMode,
  options: ForwarderOptions,
  find: (name: string) => Promise<Openable<F> | null>,
): ClientSet<F> {
  const loaded = new Map<string, Openable<F>>();
  const shared = new Map<string, F>();
  const opening = new Map<string, Promise<F>>();

  async function load(client: string): Promise<Openable<F>> {
    const contestant = loaded.get(client) ?? (await find(client));
    if (contestant === null) throw new Error(`unknown client ${client}`);
    if (!contestant.modes.includes(reuse)) {
      throw new ModeUnsupportedError(`${client} has no ${reuse} mode`);
    }
    loaded.set(client, contestant);
    return contestant;
  }

  async function open(client: string): Promise<F> {
    const forwarder = await (await load(client)).open(options);
    shared.set(client, forwarder);
    return forwarder;
  }

  /** One client for all requests, also for those that arrive while it is being opened. */
  function openOnce(client: string): Promise<F> {
    let pending = opening.get(client);
    if (pending === undefined) {
      pending = open(client).finally(() => opening.delete(client));
      opening.set(client, pending);
    }
    return pending;
  }

  async function useOnce<T>(client: string, work: (forwarder: F) => Promise<T>): Promise<T> {
    const contestant = loaded.get(client) ?? (await load(client));
    const forwarder = await contestant.open(options);
    try {
      return await work(forwarder);
    } finally {
      await forwarder.close();
    }
  }

  return {
    use(client, work) {
      if (reuse === 'per-request') return useOnce(client, work);
      const forwarder = shared.get(client);
      if (forwarder !== undefined) return work(forwarder);
      return openOnce(client).then(work);
    },
    async close() {
      const all = [...shared.values()];
      shared.clear();
      await Promise.all(all.map((forwarder) => forwarder.close()));
    },
  };
}
