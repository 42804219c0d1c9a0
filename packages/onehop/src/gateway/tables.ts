/**
 * The compiled configuration: everything an exchange looks up, in flat tables. A reload builds new
 * tables beside the old; an exchange keeps those it began with.
 */
import type { Timeouts } from '../client/index.ts';
import { FieldBlock, knownFieldOfName } from '../http1/index.ts';
import type { GatewayConfig, UpstreamConfig } from './config/schema.ts';
import { OWN_NAMES } from './fields.ts';
import { type Route, Router } from './routing/router.ts';
import { timeoutsOf, Upstream, type UpstreamEnvironment } from './upstream.ts';

/** Field changes of a route, checked when the configuration is compiled. */
export interface FieldRules {
  /** Indexed by `KnownField`. */
  readonly dropKnown: Uint8Array;
  /** Other names to drop, lower case. */
  readonly dropNames: readonly string[];
  readonly add: FieldBlock;
  /** All names of both, lower case, if the gateway itself writes one of them; else null. */
  readonly ownNames: ReadonlySet<string> | null;
}

export interface RouteTable {
  readonly route: Route;
  /** Its name in metrics and logs: the path as configured, told apart where paths repeat. */
  readonly label: string;
  readonly upstream: Upstream;
  readonly timeouts: Timeouts;
  readonly attemptsMax: number;
  readonly bodyBytesMax: number;
  readonly request: FieldRules | null;
  readonly response: FieldRules | null;
  readonly serverTiming: boolean;
  /** 0: no keep-alive comments. */
  readonly sseKeepAliveMs: number;
  /** Where the observer counts for it; the observer's own. */
  series: unknown;
}

export class Tables {
  readonly config: GatewayConfig;
  readonly router: Router;
  readonly routes: readonly RouteTable[];
  readonly upstreams: ReadonlyMap<string, Upstream>;
  readonly trustedPeers: ReadonlySet<string>;
  /** The most that any route takes: the bound while it is not known which one it is. */
  readonly bodyBytesMax: number;

  constructor(config: GatewayConfig, environment: UpstreamEnvironment, previous: Tables | null) {
    this.config = config;
    this.router = new Router(config.routes);
    this.trustedPeers = new Set(config.trustForwarded);
    this.upstreams = new Map(
      Object.entries(config.upstreams).map(([name, upstream]) => [
        name,
        compileUpstream(name, upstream, environment, previous?.upstreams.get(name) ?? null),
      ]),
    );
    const paths = config.routes.map(({ path }) => path);
    this.routes = this.router.routes.map((route): RouteTable => {
      const upstream = this.upstreams.get(route.config.upstream)!;
      const { rewrite, retry } = route.config;
      return {
        route,
        label: routeLabel(paths, route.index),
        series: null,
        upstream,
        timeouts: timeoutsOf(upstream.config, route.config.timeouts),
        attemptsMax: (retry ?? upstream.config.retry).attemptsMax,
        bodyBytesMax: route.config.bodyMax ?? config.limits.bodyBytesMax,
        request: compileFieldRules(rewrite?.requestHeaders),
        response: compileFieldRules(rewrite?.responseHeaders),
        serverTiming: route.config.serverTiming,
        sseKeepAliveMs: route.config.sseKeepAlive ?? 0,
      };
    });
    this.bodyBytesMax = Math.max(...this.routes.map((route) => route.bodyBytesMax));
  }
}

/** An upstream that a reload does not change goes on as it is: with its counts, queue and breaker. */
function compileUpstream(
  name: string,
  config: UpstreamConfig,
  environment: UpstreamEnvironment,
  previous: Upstream | null,
): Upstream {
  if (previous !== null && JSON.stringify(previous.config) === JSON.stringify(config)) {
    return previous;
  }
  return new Upstream(name, config, environment, previous);
}

function routeLabel(paths: readonly string[], index: number): string {
  const path = paths[index]!;
  const repeats = paths.filter((other) => other === path).length > 1;
  return repeats ? `${path}[${index}]` : path;
}

function compileFieldRules(
  rules: { set: Record<string, string>; remove: string[] } | undefined,
): FieldRules | null {
  if (rules === undefined) return null;
  const dropKnown = new Uint8Array(64);
  const dropNames: string[] = [];
  const names = [...Object.keys(rules.set), ...rules.remove].map((name) => name.toLowerCase());
  for (const name of names) {
    const id = knownFieldOfName(name);
    if (id === 0) dropNames.push(name);
    else dropKnown[id] = 1;
  }
  return {
    dropKnown,
    dropNames,
    add: new FieldBlock(Object.entries(rules.set).flat()),
    ownNames: names.some((name) => OWN_NAMES.includes(name)) ? new Set(names) : null,
  };
}
