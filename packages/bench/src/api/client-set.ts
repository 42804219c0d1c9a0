/** The contestants of one API process: opened when first used, shared or built for each request. */

import type { Contestant, Forwarder, ForwarderOptions, ReuseMode } from '../contestants/index.ts';
import { loadContestant } from '../contestants/index.ts';

export interface ClientSet {
  /** GETs JSON below the base URL with the named client. Rejects as {@link Forwarder.getJson}. */
  getJson(client: string, path: string): Promise<unknown>;
  close(): Promise<void>;
}

/** A contestant that was asked for in a mode it does not have. */
export class ModeUnsupportedError extends Error {
  override readonly name = 'ModeUnsupportedError';
}

/** Nothing is opened yet. `getJson` must only be called with names of known contestants. */
export function createClientSet(reuse: ReuseMode, options: ForwarderOptions): ClientSet {
  const loaded = new Map<string, Contestant>();
  const shared = new Map<string, Forwarder>();
  const opening = new Map<string, Promise<Forwarder>>();

  async function load(client: string): Promise<Contestant> {
    const contestant = loaded.get(client) ?? (await loadContestant(client));
    if (contestant === null) throw new Error(`unknown client ${client}`);
    if (!contestant.modes.includes(reuse)) {
      throw new ModeUnsupportedError(`${client} has no ${reuse} mode`);
    }
    loaded.set(client, contestant);
    return contestant;
  }

  async function open(client: string): Promise<Forwarder> {
    const forwarder = await (await load(client)).open(options);
    shared.set(client, forwarder);
    return forwarder;
  }

  /** One client for all requests, also for those that arrive while it is being opened. */
  function openOnce(client: string): Promise<Forwarder> {
    let pending = opening.get(client);
    if (pending === undefined) {
      pending = open(client).finally(() => opening.delete(client));
      opening.set(client, pending);
    }
    return pending;
  }

  async function getOnce(client: string, path: string): Promise<unknown> {
    const contestant = loaded.get(client) ?? (await load(client));
    const forwarder = await contestant.open(options);
    try {
      return await forwarder.getJson(path);
    } finally {
      await forwarder.close();
    }
  }

  return {
    getJson(client, path) {
      if (reuse === 'per-request') return getOnce(client, path);
      const forwarder = shared.get(client);
      if (forwarder !== undefined) return forwarder.getJson(path);
      return openOnce(client).then((opened) => opened.getJson(path));
    },
    async close() {
      const all = [...shared.values()];
      shared.clear();
      await Promise.all(all.map((forwarder) => forwarder.close()));
    },
  };
}
