/** Connection pools for clients that go through Node's built-in `fetch`. */

export interface BuiltInAgent {
  close(): Promise<void>;
  destroy(): Promise<void>;
}

type AgentClass = new (options: { connections: number; pipelining: number }) => BuiltInAgent;

const symbol = Symbol.for('undici.globalDispatcher.1');

/**
 * An Agent of the undici that is inside Node, so that `fetch` runs on its own pool code but with a
 * limit on connections (its default has none). Handing it an Agent of the npm package instead would
 * measure a mixture of two versions.
 */
export function openBuiltInAgent(connectionsMax: number): BuiltInAgent {
  // The dispatcher is made when fetch's module loads, which touching `Request` brings about.
  void globalThis.Request;
  const current = (globalThis as Record<symbol, object | undefined>)[symbol];
  if (current === undefined) throw new Error('this runtime has no built-in undici');
  const Agent = current.constructor as AgentClass;
  return new Agent({ connections: connectionsMax, pipelining: 1 });
}

/** What limits the connections of the runtime's `fetch`: a dispatcher to give it, on Node. */
export interface FetchPool {
  /** For every call of `fetch`. */
  readonly init: object;
  close(): Promise<void> | void;
}

/** On Bun `fetch` has one pool for the process, limited by BUN_CONFIG_MAX_HTTP_REQUESTS. */
export function openFetchPool(connectionsMax: number): FetchPool {
  if (process.versions['bun'] !== undefined) return { init: {}, close() {} };
  const dispatcher = openBuiltInAgent(connectionsMax);
  return { init: { dispatcher }, close: () => dispatcher.close() };
}
