/** What would become of a request, in words: the router's own decisions, one route at a time. */
import type { GatewayConfig } from './config/schema.ts';
import { JsonScanner, ScanState } from './routing/json-scanner.ts';
import { normalisePath, PathProblem } from './routing/path.ts';
import { type RoutableRequest, RouteMiss, Router, rewriteTarget } from './routing/router.ts';
import { timeoutsOf } from './upstream.ts';

export interface ExplainedRequest {
  readonly method: string;
  /** Path and query as a caller sends them. */
  readonly target: string;
  readonly host: string | null;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: Uint8Array | null;
}

export interface Explanation {
  /** Path of the route that takes it; null when none does. */
  readonly route: string | null;
  readonly upstream: string | null;
  /** What is sent on in place of the target. */
  readonly forwarded: string | null;
  readonly status: number | null;
  readonly model: string | null;
  readonly lines: readonly string[];
}

const refused = (status: number, model: string | null, lines: string[]): Explanation => ({
  route: null,
  upstream: null,
  forwarded: null,
  status,
  model,
  lines,
});

function scan(body: Uint8Array | null): JsonScanner {
  const scanner = new JsonScanner();
  if (body !== null) scanner.feed(body);
  scanner.end();
  return scanner;
}

const twoModels =
  'refused with 400 BODY_INVALID: the body is no JSON object with exactly one model';

/** Decides as the gateway does; nothing is sent anywhere. */
export function explainRequest(config: GatewayConfig, given: ExplainedRequest): Explanation {
  const question = given.target.indexOf('?');
  const normalised = { path: '', problem: PathProblem.None as PathProblem };
  normalisePath(question === -1 ? given.target : given.target.slice(0, question), normalised);
  if (normalised.problem !== PathProblem.None) {
    return refused(400, null, [
      `refused with 400 PATH_AMBIGUOUS: ${given.target} has a dot segment, an encoded separator, a backslash or a bad escape`,
    ]);
  }
  const headers = new Map(given.headers.map(([name, value]) => [name.toLowerCase(), value]));
  const request: RoutableRequest = {
    method: given.method,
    host: (given.host ?? headers.get('host') ?? '').toLowerCase().replace(/:\d+$/, ''),
    path: normalised.path,
    header: (name) => headers.get(name) ?? null,
  };
  if (request.method === 'CONNECT' || request.method === 'TRACE') {
    return refused(405, null, [`refused with 405: ${request.method} is not forwarded`]);
  }
  const whole = new Router(config.routes);
  // As in the gateway the body is looked at only where a route asks for its model.
  const asks = given.body !== null && whole.match(request, undefined) === RouteMiss.NeedsModel;
  const scanner = scan(asks ? given.body : null);
  const { model } = scanner;
  const lines: string[] = [];
  for (const [index, route] of config.routes.entries()) {
    const found = new Router([route]).match(request, model);
    const label = `routes[${index}] ${route.path}`;
    if (typeof found === 'object') {
      if (!scanner.refuses(true)) return taken(config, given, index, model, lines, label);
      lines.push(`${label}: ${twoModels}`);
      return refused(400, model, lines);
    }
    lines.push(`${label}: no: ${whyNot(route, request, given.body, scanner)}`);
  }
  const miss = whole.match(request, model);
  if (scanner.refuses(false)) {
    lines.push(twoModels);
    return refused(400, model, lines);
  }
  const status = miss === RouteMiss.MethodNotAllowed ? 405 : 404;
  lines.push(`refused with ${status}: no route takes it`);
  return refused(status, model, lines);
}

type RouteConfig = GatewayConfig['routes'][number];

/** The first condition of the route that the request does not meet. */
function whyNot(
  route: RouteConfig,
  request: RoutableRequest,
  body: Uint8Array | null,
  { model, state }: JsonScanner,
): string {
  const only = (part: Partial<RouteConfig>): boolean => {
    const bare: RouteConfig = {
      path: route.path,
      headers: {},
      upstream: route.upstream,
      serverTiming: false,
      ...part,
    };
    return typeof new Router([bare]).match(request, model) === 'object';
  };
  if (!only({})) return `the path ${request.path} does not match`;
  if (route.host !== undefined && !only({ host: route.host })) {
    return `the host is ${request.host === '' ? 'not given' : request.host}, not ${route.host}`;
  }
  for (const [name, value] of Object.entries(route.headers)) {
    const actual = request.header(name.toLowerCase());
    if (actual !== value) {
      return `the header ${name} is ${actual === null ? 'missing' : JSON.stringify(actual)}, not ${JSON.stringify(value)}`;
    }
  }
  if (route.methods !== undefined && !route.methods.includes(request.method)) {
    return `the method is ${request.method}, not ${route.methods.join(' or ')}`;
  }
  const wanted = route.models?.join(', ');
  if (body === null) return `it takes the models ${wanted} and no body was given (--body)`;
  if (model === null && state === ScanState.Invalid)
    return 'the body is no JSON object with one model';
  return `the model is ${model === null ? 'not named in the body' : JSON.stringify(model)}, not ${wanted}`;
}

function taken(
  config: GatewayConfig,
  given: ExplainedRequest,
  index: number,
  model: string | null,
  lines: string[],
  label: string,
): Explanation {
  const route = config.routes[index]!;
  const upstream = config.upstreams[route.upstream]!;
  const forwarded = rewriteTarget(new Router([route]).routes[0]!, given.target);
  if (forwarded === null) {
    lines.push(`${label}: yes, but refused with 400: the path cannot be rewritten`);
    return refused(400, model, lines);
  }
  const { connectTimeoutMs, headTimeoutMs, firstByteTimeoutMs, idleTimeoutMs, totalTimeoutMs } =
    timeoutsOf(upstream, route.timeouts);
  const attempts = (route.retry ?? upstream.retry).attemptsMax;
  const bodyMax = route.bodyMax ?? config.limits.bodyBytesMax;
  const hash = upstream.hash;
  const by =
    hash === undefined ? '' : ` by ${'header' in hash ? `header ${hash.header}` : hash.param}`;
  lines.push(
    `${label}: yes${model === null ? '' : `, model ${JSON.stringify(model)}`}`,
    `  upstream   ${route.upstream} (${upstream.protocol}), ${upstream.balance}${by} over ${upstream.targets.length}:`,
    ...upstream.targets.map(
      (target) =>
        `             ${target.label}${target.weight === 1 ? '' : ` weight ${target.weight}`} -> ${given.method} ${target.pathPrefix}${forwarded}`,
    ),
    `  timeouts   connect ${connectTimeoutMs} ms, head ${headTimeoutMs} ms, first byte ${firstByteTimeoutMs} ms, idle ${idleTimeoutMs} ms, total ${totalTimeoutMs} ms`,
    `  retry      ${attempts} attempts in all, retries up to ${Math.round(upstream.retry.budgetRatio * 100)} % of requests`,
    `  limits     ${upstream.limits.pendingMax} pending, then ${upstream.limits.queueLengthMax} wait up to ${upstream.limits.queueTimeoutMs} ms; body up to ${bodyMax} bytes`,
  );
  return { route: route.path, upstream: route.upstream, forwarded, status: null, model, lines };
}
