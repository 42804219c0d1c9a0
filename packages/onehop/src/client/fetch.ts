/** `fetch` with the standard's signature on this engine. docs/reference/fetch.md says where it differs. */
import { FieldBlock, parseErrorReason } from '../http1/index.ts';
import { stopAsking } from './body-pump.ts';
import { Client } from './client.ts';
import { FetchCall, type FetchFace, plainRequest } from './fetch-call.ts';
import { becomeHeaders } from './fetch-headers.ts';
import { type FetchDefaults, type FetchPlan, failed, planOf } from './fetch-init.ts';
import { becomeResponse } from './fetch-response.ts';
import type { Fetch, FetchInit } from './fetch-types.ts';
import type { Origin } from './origin.ts';
import { hasField, invalid } from './request-options.ts';
import type { DispatchRequest } from './types.ts';
import type { RequestUrl } from './url.ts';

const NO_INIT: FetchInit = {};
/** Taken before anybody can put ours in its place. */
const builtIn: typeof globalThis.fetch | undefined = globalThis.fetch;

let webIsReady = false;

/** Not on import: touching `Response` loads the runtime's whole fetch. */
function prepareWeb(): void {
  if (webIsReady) return;
  webIsReady = true;
  becomeHeaders();
  becomeResponse();
}

/** The fields that go with every request which does not set them: the client's, then these. */
function pairsFor(client: readonly string[], codings: string): string[] {
  const pairs = [...client];
  const standard = [
    ['accept', '*/*'],
    ['user-agent', 'onehop'],
    ['accept-encoding', codings],
  ] as const;
  for (const [name, value] of standard) {
    if (value !== '' && !hasField(pairs, name)) pairs.push(name, value);
  }
  return pairs;
}

function blockOf(pairs: readonly string[]): FieldBlock {
  const block = new FieldBlock(pairs);
  if (block.errorCode !== 0) throw invalid(parseErrorReason(block.errorCode));
  return block;
}

function lowerNames(pairs: readonly string[]): string[] {
  return pairs.map((text, i) => (i % 2 === 0 ? text.toLowerCase() : text));
}

/**
 * A `fetch` on the connections, deadlines, default headers and proxy of `client`, which stays the
 * caller's to close. Redirects are followed (20) and bodies decompressed whatever the client says, as
 * the standard wants; `decompress: false` of the client switches the latter off. A `bodyBytesMax` of
 * the client bounds what is collected or decompressed. URLs are resolved against its `baseUrl`.
 */
export function createFetch(client: Client): Fetch {
  prepareWeb();
  const { core } = client;
  const { options } = core;
  const decompress = options.decompress !== false;
  const own = lowerNames(core.defaultPairs);
  const pairs = {
    http: pairsFor(own, decompress ? 'gzip, deflate' : ''),
    https: pairsFor(own, decompress ? 'br, gzip, deflate' : ''),
  };
  const fields = { http: blockOf(pairs.http), https: blockOf(pairs.https) };
  const defaults: FetchDefaults = { baseUrl: core.baseUrl, pairs, fields, decompress };
  const face: FetchFace = {
    core,
    decompress,
    bodyBytesMax: options.bodyBytesMax ?? Number.POSITIVE_INFINITY,
    plainPairs: pairs,
  };

  function run(plan: FetchPlan): Promise<Response> {
    const { signal, url } = plan;
    if (signal?.aborted) return giveUp(plan, signal.reason);
    let origin: Origin;
    try {
      origin = core.originOf(url);
    } catch (error) {
      return giveUp(plan, shown(error));
    }
    return new Promise((resolve, reject) => {
      new FetchCall(face, plan, origin, url.target, resolve, reject).send();
    });
  }

  // The same URL again and again is the common case: it is looked at once.
  let lastUrl = '';
  let lastOrigin: Origin | null = null;
  let lastRequest: DispatchRequest | null = null;

  function plain(origin: Origin, request: DispatchRequest): Promise<Response> {
    return new Promise((resolve, reject) => {
      new FetchCall(face, null, origin, request.target, resolve, reject).sendPlain(request);
    });
  }

  return function fetch(input, init = NO_INIT) {
    if (
      input === lastUrl &&
      init === NO_INIT &&
      lastRequest !== null &&
      lastOrigin !== null &&
      core.lastOrigin() === lastOrigin
    ) {
      return plain(lastOrigin, lastRequest);
    }
    const target = typeof input === 'string' ? core.plainTarget(input) : null;
    if (target !== null && init === NO_INIT) {
      lastUrl = input as string;
      lastOrigin = core.lastOrigin()!;
      lastRequest = plainRequest(target, fields[lastOrigin.address.scheme]);
      return plain(lastOrigin, lastRequest);
    }
    try {
      let known: RequestUrl | null = null;
      if (target !== null) {
        const { address, name } = core.lastOrigin()!;
        known = { address, origin: name, target };
      } else if (isLocal(input)) return delegate(input, init);
      const plan = planOf(input, init ?? NO_INIT, defaults, known);
      return plan instanceof Promise ? plan.then(run) : run(plan);
    } catch (error) {
      return Promise.reject(shown(error));
    }
  };
}

/** What the standard's `fetch` rejects with. */
const shown = (error: unknown): TypeError => (error instanceof TypeError ? error : failed(error));

/** The request is not sent. The body of a `Request` was begun to see what it is. */
function giveUp(plan: FetchPlan, error: unknown): Promise<never> {
  if (plan.body.source !== null) stopAsking(plan.body.source);
  return Promise.reject(error);
}

/** `data:` and `blob:` URLs need no connection: the runtime's own fetch reads them. */
function isLocal(input: string | URL | Request): boolean {
  const url = typeof input === 'string' ? input : 'url' in input ? input.url : String(input);
  const first = url.charCodeAt(0) | 32;
  return (first === 100 || first === 98) && /^(data|blob):/i.test(url);
}

function delegate(input: string | URL | Request, init: FetchInit): Promise<Response> {
  if (builtIn === undefined) throw failed(invalid('this runtime cannot read data: and blob: URLs'));
  return builtIn(input, init as RequestInit);
}

let shared: Fetch | null = null;

/** Connections of one origin at once: the built-in fetch has no bound, so this is only a fuse. */
const sharedConnectionsMax = 16_384;

/**
 * The standard's `fetch` on a client of its own: no total deadline, no bound on waiting. Failures reject
 * with a TypeError whose `cause` is an `OnehopError`; an abort with the signal's reason. Idle
 * connections do not keep the process alive. To set deadlines, pools or a proxy, use
 * {@link createFetch}.
 */
export function fetch(input: string | URL | Request, init?: FetchInit): Promise<Response> {
  shared ??= createFetch(
    new Client({
      connectionsMax: sharedConnectionsMax,
      queueLengthMax: Number.MAX_SAFE_INTEGER,
      queueTimeoutMs: 0,
      totalTimeoutMs: 0,
    }),
  );
  return shared(input, init);
}
