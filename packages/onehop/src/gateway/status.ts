/** What `/status` shows: plain data, nothing secret. */
import type { Gateway } from './gateway.ts';
import { runtimeName } from './observer-metrics.ts';
import type { Upstream } from './upstream.ts';

const BREAKER_STATES = ['closed', 'open', 'half-open'] as const;

/** The last attempt to load a configuration. */
export interface ReloadResult {
  readonly at: string;
  readonly ok: boolean;
  /** Problems that kept it from being used. */
  readonly problems: readonly string[];
  /** Changes that wait for a restart. */
  readonly needsRestart: readonly string[];
}

export interface ProcessFacts {
  readonly version: string;
  readonly configFile: string | null;
  readonly lastReload: ReloadResult | null;
}

/** State of one gateway process. */
export function gatewayStatus(gateway: Gateway, facts: ProcessFacts): object {
  const { config } = gateway.tables;
  const { counters } = gateway.server;
  return {
    version: facts.version,
    runtime: runtimeName(),
    pid: process.pid,
    uptimeSeconds: Math.round(process.uptime()),
    ready: gateway.isReady(),
    draining: gateway.draining,
    config: { file: facts.configFile, lastReload: facts.lastReload },
    listeners: gateway.listeners.map(({ host, port, path }) => path ?? `${host}:${port}`),
    connections: { open: counters.connectionsOpen, refused: counters.connectionsRefused },
    requests: { total: counters.requests, open: counters.exchangesOpen },
    routes: gateway.tables.routes.map(({ label, route, upstream, timeouts, attemptsMax }) => ({
      route: label,
      host: route.host,
      methods: route.methods,
      models: config.routes[route.index]!.models ?? null,
      upstream: upstream.name,
      timeouts,
      attemptsMax,
    })),
    upstreams: Object.fromEntries(
      [...gateway.tables.upstreams.values()].map((upstream) => [
        upstream.name,
        upstreamStatus(upstream, gateway.nowMs()),
      ]),
    ),
  };
}

function upstreamStatus(upstream: Upstream, nowMs: number): object {
  const { config } = upstream;
  return {
    balance: config.balance,
    pending: upstream.pending,
    pendingMax: config.limits.pendingMax,
    queued: upstream.queue.length,
    breaker: upstream.breaker === null ? null : BREAKER_STATES[upstream.breaker.state],
    targets: upstream.members
      .filter(({ gone }) => !gone)
      .map((member) => ({
        target: member.label,
        address: member.address,
        up: member.isUp(nowMs),
        probedHealthy: member.probedHealthy,
        ejectedForMs: Math.max(0, Math.round(member.ejectedUntilMs - nowMs)),
        weight: member.weight,
        pending: member.pending,
        ...member.origin.stats(),
      })),
  };
}
