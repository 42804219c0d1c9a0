/** Compiles the configured routes and picks one for a request: in file order, first match wins. */
import type { RouteConfig } from '../config/schema.ts';

/** What routing may ask about a request; implemented over the parsed head, nothing is copied. */
export interface RoutableRequest {
  readonly method: string;
  /** Host without port, lower case. */
  readonly host: string;
  /** From `normalisePath`. */
  readonly path: string;
  /** First value of a field, by lower-case name; null when absent. */
  header(name: string): string | null;
}

/** A route as the data plane uses it. */
export interface Route {
  readonly index: number;
  readonly config: RouteConfig;
  readonly host: string | null;
  readonly methods: readonly string[] | null;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly models: readonly ModelPattern[] | null;
  /** Literal path before `*`, or the exact path, or null when there are parameters. */
  readonly literal: string | null;
  readonly isPrefix: boolean;
  /** Segments with parameters; null when `literal` says it all. */
  readonly segments: readonly Segment[] | null;
}

interface Segment {
  readonly text: string;
  /** Name of the parameter, or null when `text` must match exactly. */
  readonly param: string | null;
}

interface ModelPattern {
  readonly text: string;
  /** The part before `*`; null when the name must match exactly. */
  readonly prefix: string | null;
  readonly suffix: string;
}

/** How a request that matched no route is to be answered. */
export const RouteMiss = {
  /** Nothing here: 404. */
  NotFound: 0,
  /** A route matches but for the method: 405 with Allow. */
  MethodNotAllowed: 1,
  /** A route can only be decided with the `model` of the body. */
  NeedsModel: 2,
} as const;
export type RouteMiss = (typeof RouteMiss)[keyof typeof RouteMiss];

function compileModel(text: string): ModelPattern {
  const star = text.indexOf('*');
  return star === -1
    ? { text, prefix: null, suffix: '' }
    : { text, prefix: text.slice(0, star), suffix: text.slice(star + 1) };
}

function compileRoute(config: RouteConfig, index: number): Route {
  const isPrefix = config.path.endsWith('/*');
  const path = isPrefix ? config.path.slice(0, -1) : config.path;
  const withParams = path.includes('/:');
  const parts = (isPrefix ? path.slice(1, -1) : path.slice(1)).split('/');
  return {
    index,
    config,
    host: config.host?.toLowerCase() ?? null,
    methods: config.methods ?? null,
    headers: Object.entries(config.headers).map(([name, value]) => [name.toLowerCase(), value]),
    models: config.models?.map(compileModel) ?? null,
    literal: withParams ? null : path,
    isPrefix,
    segments: withParams
      ? parts.map((part) => ({ text: part, param: part.startsWith(':') ? part.slice(1) : null }))
      : null,
  };
}

function matchesPath(route: Route, path: string): boolean {
  const { literal } = route;
  if (literal !== null) {
    if (!route.isPrefix) return path === literal;
    // `/v1/*` also means `/v1` itself, and must not mean `/v1x`.
    return path.startsWith(literal) || path === literal.slice(0, -1);
  }
  let at = 1;
  const segments = route.segments!;
  for (let index = 0; index < segments.length; index++) {
    if (at > path.length) return false;
    let end = path.indexOf('/', at);
    if (end === -1) end = path.length;
    const segment = segments[index]!;
    if (segment.param === null ? path.slice(at, end) !== segment.text : end === at) return false;
    at = end + 1;
  }
  return route.isPrefix || at === path.length + 1;
}

function matchesHeaders(route: Route, request: RoutableRequest): boolean {
  return route.headers.every(([name, value]) => request.header(name) === value);
}

function matchesModel(patterns: readonly ModelPattern[], model: string): boolean {
  return patterns.some(({ text, prefix, suffix }) =>
    prefix === null
      ? model === text
      : model.length >= prefix.length + suffix.length &&
        model.startsWith(prefix) &&
        model.endsWith(suffix),
  );
}

export class Router {
  readonly routes: readonly Route[];

  constructor(configs: readonly RouteConfig[]) {
    this.routes = configs.map(compileRoute);
  }

  /**
   * The first route that matches, or why there is none. `model` is the name found in the body, null
   * when the body has none, undefined while it has not been looked at.
   */
  match(request: RoutableRequest, model?: string | null): Route | RouteMiss {
    let takesMethod = false;
    let miss: RouteMiss = RouteMiss.NotFound;
    for (const route of this.routes) {
      if (!matchesPath(route, request.path)) continue;
      if (route.host !== null && route.host !== request.host) continue;
      if (route.headers.length > 0 && !matchesHeaders(route, request)) continue;
      if (route.methods !== null && !route.methods.includes(request.method)) {
        miss = RouteMiss.MethodNotAllowed;
        continue;
      }
      if (route.models !== null) {
        if (model === undefined) return RouteMiss.NeedsModel;
        if (model === null || !matchesModel(route.models, model)) {
          takesMethod = true;
          continue;
        }
      }
      return route;
    }
    // With another model it would be taken, so that the method is not what is wrong.
    return takesMethod ? RouteMiss.NotFound : miss;
  }

  /** Methods that some route allows on this path: the Allow field of a 405 (RFC 9110 §10.2.1). */
  allowedMethods(request: RoutableRequest): string[] {
    const methods = new Set<string>();
    for (const route of this.routes) {
      if (!matchesPath(route, request.path)) continue;
      if (route.host !== null && route.host !== request.host) continue;
      for (const method of route.methods ?? []) methods.add(method);
    }
    return [...methods];
  }
}

/** Value of a path parameter of a matched route; null when the route has no such parameter. */
export function pathParam(route: Route, path: string, name: string): string | null {
  let at = 1;
  for (const segment of route.segments ?? []) {
    let end = path.indexOf('/', at);
    if (end === -1) end = path.length;
    if (segment.param === name) return path.slice(at, end);
    at = end + 1;
  }
  return null;
}

/**
 * The target to forward for a request target as received (path and query, verbatim): the part a
 * `rewrite.prefix` replaces is cut by length in the *received* path, which is only possible when
 * routing did not have to normalise that part; null then, and the request is refused.
 */
export function rewriteTarget(route: Route, target: string): string | null {
  const prefix = route.config.rewrite?.prefix;
  if (prefix === undefined) return target;
  const literal = route.literal;
  if (literal === null) return target;
  const cut = route.isPrefix ? literal.length - 1 : literal.length;
  const matched = route.isPrefix ? literal.slice(0, -1) : literal;
  if (!target.startsWith(matched)) return null;
  const rest = target.slice(cut);
  const joined =
    prefix.endsWith('/') && rest.startsWith('/') ? prefix + rest.slice(1) : prefix + rest;
  return joined.startsWith('/') ? joined : `/${joined}`;
}
