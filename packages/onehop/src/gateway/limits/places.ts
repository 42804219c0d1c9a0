/** Which key of the configuration holds the limit that something ran into, and what it says. */
import type { LimitName, OnehopError } from '../../core/index.ts';
import type { GatewayConfig } from '../config/schema.ts';
import type { GatewayExchange } from '../exchange.ts';
import { connectionsCeilingFor, connectionsMaxFor, openFilesMax } from '../process-gauges.ts';
import type { RouteTable, Tables } from '../tables.ts';
import type { Upstream } from '../upstream.ts';
import { LIMITS, type LimitSpec, limitOf } from './catalogue.ts';
import type { LimitPlace, LimitReporter } from './reporter.ts';

type Numbers = Readonly<Record<string, number | undefined>>;

/** The bound of all downstream connections, and how to tell of it. */
export interface ConnectionsBound {
  readonly max: number;
  readonly value: string;
  readonly advice: string;
}

/** What is configured, but never more than the open files of this process allow. */
export function connectionsBound(configured: number | null, otherwise: number): ConnectionsBound {
  const openFiles = openFilesMax();
  if (openFiles === null) {
    const max = configured ?? otherwise;
    return { max, value: String(max), advice: 'raise it' };
  }
  if (configured === null) {
    const max = connectionsMaxFor(openFiles);
    const value = `${max}, as ${openFiles} open files allow`;
    return { max, value, advice: 'raise `ulimit -n`' };
  }
  const ceiling = connectionsCeilingFor(openFiles);
  if (configured <= ceiling) {
    return { max: configured, value: String(configured), advice: 'raise it' };
  }
  const value = `${configured}, of which ${openFiles} open files allow ${ceiling}`;
  return { max: ceiling, value, advice: 'raise `ulimit -n`' };
}

const inKey = (spec: LimitSpec, key: string, value: number | string): LimitPlace => ({
  key,
  what: spec.what,
  did: spec.did,
  value,
  unit: spec.unit,
  advice: spec.advice,
});

const routeKey = ({ route }: RouteTable, key: string): string => `routes[${route.index}].${key}`;

/** The request body's: the route's own bound where it has one. */
function bodyPlace(spec: LimitSpec, tables: Tables, route: RouteTable | null): LimitPlace {
  // Without a route it is the most that any of them takes.
  const own =
    route ?? tables.routes.find(({ bodyBytesMax }) => bodyBytesMax === tables.bodyBytesMax)!;
  return own.route.config.bodyMax === undefined
    ? inKey(spec, spec.key, own.bodyBytesMax)
    : inKey(spec, routeKey(own, 'bodyMax'), own.bodyBytesMax);
}

function timeoutPlace(spec: LimitSpec, route: RouteTable): LimitPlace {
  const { field } = spec;
  const value = (route.timeouts as unknown as Numbers)[field]!;
  const own = route.route.config.timeouts as Numbers | undefined;
  return own?.[field] === undefined
    ? inKey(spec, `upstreams.${route.upstream.name}.${spec.key}`, value)
    : inKey(spec, routeKey(route, spec.key), value);
}

function upstreamPlace(spec: LimitSpec, { name, config }: Upstream): LimitPlace {
  const values = { ...config.limits, ...config.retry } as unknown as Numbers;
  return inKey(spec, `upstreams.${name}.${spec.key}`, values[spec.field]!);
}

/** Tells the reporter of what limits turned away, with the keys that change them. */
export class LimitPlaces {
  readonly #reporter: LimitReporter;
  /** Those in force for connections and heads: they need a restart. */
  readonly #limits: Numbers;
  readonly #connections: ConnectionsBound;

  constructor(
    reporter: LimitReporter,
    limits: GatewayConfig['limits'],
    connections: ConnectionsBound,
  ) {
    this.#reporter = reporter;
    this.#limits = limits as unknown as Numbers;
    this.#connections = connections;
  }

  /** Connections that were not taken. */
  connectionRefused(limit: LimitName, status: number, address: string): void {
    this.#hit(limit, status, address, null);
  }

  /** A request that was answered before it became an exchange. */
  requestRefused(error: OnehopError, status: number, address: string): void {
    const limit = limitOf(error);
    if (limit !== null) this.#hit(limit, status, address, null);
  }

  /** A request that was refused with `status` at a limit of the gateway, which is no failure of anything. */
  exchangeRefused(exchange: GatewayExchange, limit: LimitName, status: number): void {
    this.#hit(limit, status, exchange.downstream.remoteAddress, exchange);
  }

  /** An exchange is over that failed, or for which something was not done. */
  exchangeEnded(exchange: GatewayExchange): void {
    const { error, downstream, committed } = exchange;
    if (exchange.retryDenied === 'budget') this.#hit('retryBudgetRatio', 0, '', exchange);
    const limit = error === null ? null : limitOf(error);
    if (limit === null) return;
    // Of an answer that had begun the status says nothing, nor of a connection that was cut.
    const status = committed || error!.code === 'ABORTED' ? 0 : downstream.status;
    this.#hit(limit, status, downstream.remoteAddress, exchange);
  }

  #hit(limit: LimitName, status: number, address: string, exchange: GatewayExchange | null): void {
    const spec = LIMITS[limit];
    if (typeof spec === 'string') return;
    const route = exchange === null ? null : exchange.route;
    let place: LimitPlace;
    if (spec.scope === 'gateway') place = this.#ofGateway(limit, spec);
    else if (exchange === null) return;
    else if (spec.scope === 'body') place = bodyPlace(spec, exchange.tables, route);
    else if (route === null) return;
    else if (spec.scope === 'timeout') place = timeoutPlace(spec, route);
    else place = upstreamPlace(spec, route.upstream);
    // Of what an upstream does, or is not given time for, no caller is the cause.
    const isCallers = spec.scope === 'gateway' || spec.scope === 'body';
    this.#reporter.hit(place, status, isCallers ? address : '');
  }

  #ofGateway(limit: LimitName, spec: LimitSpec): LimitPlace {
    if (limit !== 'connectionsMax') return inKey(spec, spec.key, this.#limits[spec.field]!);
    const { value, advice } = this.#connections;
    return { ...inKey(spec, spec.key, value), advice };
  }
}
