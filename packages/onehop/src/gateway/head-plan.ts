/**
 * A caller that keeps its connection mostly sends the same head again: SDKs, health checks, pollers.
 * The parser notices (`head.repeated`), and what the gateway worked out about the head the time
 * before stays with it (`head.derived`). Same bytes from the same connection under the same tables
 * give the same plan, so nothing that varies otherwise may be in here.
 */
import { KeptHead } from '../client/index.ts';
import { type Framing, KnownField, type RequestHead } from '../http1/index.ts';
import type { GatewayExchange } from './exchange.ts';
import { requestIdFor } from './request-id.ts';
import type { RouteTable, Tables } from './tables.ts';

/** Members whose heads are kept: callers from many addresses have a plan each. */
const keptHeadsMax = 8;

/** Everything the phases before the body decide from the head alone. */
export class HeadPlan {
  readonly tables: Tables;
  readonly method: string;
  readonly target: string;
  readonly path: string;
  readonly route: RouteTable;
  readonly remoteAddress: string;
  readonly fieldsText: string;
  readonly host: string | undefined;
  readonly keyHash: number;
  readonly takesTrailers: boolean;
  /** The id the caller gave, harmless or not. */
  readonly givenId: string | null;
  readonly framing: Framing;
  readonly contentLength: number;
  /** Upstream heads, by the member's index; null where the route sets the id that differs. */
  readonly #kept: KeptHead[] | null;

  constructor(exchange: GatewayExchange, head: RequestHead) {
    this.tables = exchange.tables;
    this.method = exchange.method;
    this.target = exchange.target;
    this.path = exchange.path;
    this.route = exchange.route!;
    this.remoteAddress = exchange.remoteAddress;
    this.fieldsText = exchange.fieldsText;
    this.host = exchange.host;
    this.keyHash = exchange.keyHash;
    this.takesTrailers = exchange.takesTrailers;
    this.givenId = givenId(head);
    this.framing = head.framing;
    this.contentLength = head.contentLength;
    this.#kept = this.route.request?.ownNames?.has('x-request-id') === true ? null : [];
  }

  /** Whether requests with either plan go the same way with the same fields. */
  same(other: HeadPlan): boolean {
    return (
      this.tables === other.tables &&
      this.fieldsText === other.fieldsText &&
      this.target === other.target &&
      this.method === other.method &&
      this.route === other.route &&
      this.remoteAddress === other.remoteAddress &&
      this.path === other.path &&
      this.host === other.host &&
      this.keyHash === other.keyHash &&
      this.takesTrailers === other.takesTrailers &&
      this.framing === other.framing &&
      this.contentLength === other.contentLength &&
      this.givenId === other.givenId
    );
  }

  /** The upstream head for a first attempt at the member with this index, one of the first few. */
  keptFor(index: number): KeptHead | null {
    if (this.#kept === null || index >= keptHeadsMax) return null;
    let kept = this.#kept[index];
    if (kept === undefined) this.#kept[index] = kept = new KeptHead('x-request-id');
    return kept;
  }
}

const givenId = (head: RequestHead): string | null =>
  head.has(KnownField.XRequestId) ? head.valueOf(KnownField.XRequestId) : null;

/** The id of the exchange: the caller's or ours. */
export const idFor = (head: RequestHead): string => requestIdFor(givenId(head));

/** Applies what is known about a repeated head; false when nothing is. */
export function usePlan(exchange: GatewayExchange, head: RequestHead): boolean {
  const plan = head.derived as HeadPlan | null;
  if (plan === null || plan.tables !== exchange.tables) return false;
  exchange.method = plan.method;
  exchange.target = plan.target;
  exchange.path = plan.path;
  exchange.route = plan.route;
  exchange.upstream = plan.route.upstream;
  exchange.timeouts = plan.route.timeouts;
  exchange.remoteAddress = plan.remoteAddress;
  exchange.requestId = requestIdFor(plan.givenId);
  exchange.fieldsText = plan.fieldsText;
  exchange.plan = plan;
  exchange.host = plan.host;
  exchange.keyHash = plan.keyHash;
  exchange.takesTrailers = plan.takesTrailers;
  return true;
}

/** Keeps the plan of a head that came twice. Upgrades are rare, and a random key must stay random. */
export function keepPlan(exchange: GatewayExchange, head: RequestHead, keyed: boolean): void {
  if (!head.repeated || !keyed || exchange.upgrade !== undefined) return;
  const plan = new HeadPlan(exchange, head);
  if (lastPlan?.same(plan) !== true) lastPlan = plan;
  head.derived = lastPlan;
}

/** Made last: callers of one kind share it, so that many connections touch little memory. */
let lastPlan: HeadPlan | null = null;
