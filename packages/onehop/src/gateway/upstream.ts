/** A configured upstream at run time: its members with their connection pools, load and queue. */
import { readFileSync } from 'node:fs';
import {
  Origin,
  type OriginOptions,
  type ResolverOptions,
  RetryBudget,
  type Timeouts,
} from '../client/index.ts';
import { type DeadlineWheel, RingQueue } from '../core/index.ts';
import { responseLimits } from '../http1/index.ts';
import type { TlsOptions, Transport } from '../transport/index.ts';
import { type Balancer, createBalancer, type PickContext, triedBit } from './balancing/balancer.ts';
import { Breaker } from './balancing/breaker.ts';
import { Target } from './balancing/target.ts';
import type { TargetConfig, UpstreamConfig } from './config/schema.ts';
import type { GatewayExchange } from './exchange.ts';
import { SpreadingResolver } from './resolver.ts';

/** What upstreams take from the gateway they belong to. */
export interface UpstreamEnvironment {
  readonly transport: Transport;
  readonly wheel: DeadlineWheel;
  readonly random: () => number;
  /** Stands in for the system's name lookup. */
  readonly lookup?: ResolverOptions['lookup'];
  /** A connection to a target of the named upstream was opened. */
  readonly onConnect?: (upstream: string, durationMs: number) => void;
}

/** One member: what the balancer knows of it and the way to it. */
export class Member extends Target {
  readonly index: number;
  readonly config: TargetConfig;
  readonly origin: Origin;

  constructor(index: number, config: TargetConfig, upstream: UpstreamConfig, origin: Origin) {
    super(config, upstream.health);
    this.index = index;
    this.config = config;
    this.origin = origin;
  }
}

export class Upstream {
  readonly name: string;
  readonly config: UpstreamConfig;
  readonly members: readonly Member[];
  readonly breaker: Breaker | null;
  readonly budget: RetryBudget;
  readonly queue = new RingQueue<GatewayExchange>();
  /** Exchanges under way, those that wait in the queue not counted. */
  pending = 0;
  /** Where the observer counts for it; the observer's own. */
  series: unknown = null;
  readonly #balancer: Balancer;
  readonly #context: PickContext = { nowMs: 0, tried: 0, keyHash: 0 };

  /** `previous` is the upstream of that name before a reload: unchanged members keep their pools. */
  constructor(
    name: string,
    config: UpstreamConfig,
    environment: UpstreamEnvironment,
    previous: Upstream | null,
  ) {
    this.name = name;
    this.config = config;
    this.budget = new RetryBudget(config.retry.budgetRatio, config.retry.budgetMin);
    this.breaker = config.breaker === undefined ? null : new Breaker(config.breaker);
    const options = originOptions(name, config, environment);
    const sameWay = previous !== null && wayOf(previous.config) === wayOf(config);
    this.members = config.targets.map((target, index) => {
      const old = sameWay
        ? previous.members.find((member) => member.config.label === target.label)
        : undefined;
      const address = {
        scheme: target.scheme,
        host: target.host,
        port: target.port,
        ...(target.socketPath === null ? {} : { socketPath: target.socketPath }),
      };
      const member = new Member(index, target, config, old?.origin ?? new Origin(address, options));
      if (old !== undefined) {
        member.probedHealthy = old.probedHealthy;
        member.ejectedUntilMs = old.ejectedUntilMs;
        member.pending = 0;
      }
      return member;
    });
    this.#balancer = createBalancer(config.balance, this.members, {
      pendingPerTargetMax: config.limits.pendingPerTargetMax,
      slowStartMs: config.slowStartMs,
      random: environment.random,
    });
  }

  /** The member for the next attempt, or null when none can take it now. */
  pick(nowMs: number, tried: number, keyHash: number): Member | null {
    const context = this.#context;
    context.nowMs = nowMs;
    context.tried = tried;
    context.keyHash = keyHash;
    return this.#balancer.pick(context) as Member | null;
  }

  /**
   * A member that was ejected for failures of requests, for want of one that was not: it may have
   * recovered, and trying it is better than refusing. Never one that active probes call down.
   */
  pickEjected(tried: number): Member | null {
    let found: Member | null = null;
    for (const member of this.members) {
      if (member.weight === 0 || member.draining || !member.probedHealthy) continue;
      if ((tried & triedBit(member.index)) !== 0) continue;
      if (member.pending >= this.config.limits.pendingPerTargetMax) continue;
      if (found === null || member.ejectedUntilMs < found.ejectedUntilMs) found = member;
    }
    return found;
  }

  /** Whether any member is up, full or not: decides between waiting and refusing. */
  hasMemberUp(nowMs: number): boolean {
    return this.members.some((member) => member.weight > 0 && member.isUp(nowMs));
  }

  /**
   * Passive ejection must leave one member standing. When the last one is about to go, those ejected
   * before it come back instead: they have had a rest, and it is failing now.
   */
  mayEject(member: Member, nowMs: number): boolean {
    let others = false;
    for (const other of this.members) {
      if (other !== member && other.weight > 0 && other.isUp(nowMs)) others = true;
    }
    if (others || !member.isFailing) return others;
    for (const other of this.members) {
      if (other === member || other.weight === 0 || !other.endEjection(nowMs)) continue;
      others = true;
    }
    return others;
  }
}

/** What two versions of an upstream must agree on for a member to keep its connections. */
function wayOf(config: UpstreamConfig): string {
  const { connectionsMax, poolIdleTimeoutMs, responseHeadBytesMax } = config.limits;
  return JSON.stringify([
    connectionsMax,
    poolIdleTimeoutMs,
    responseHeadBytesMax,
    config.pipelining,
    config.dnsRefreshMs,
    config.tls ?? null,
  ]);
}

function originOptions(
  name: string,
  config: UpstreamConfig,
  environment: UpstreamEnvironment,
): OriginOptions {
  const { onConnect } = environment;
  return {
    ...(onConnect === undefined
      ? {}
      : { onConnect: (durationMs: number) => onConnect(name, durationMs) }),
    connectionsMax: config.limits.connectionsMax,
    queueLengthMax: config.limits.queueLengthMax,
    connectionIdleMaxMs: config.limits.poolIdleTimeoutMs,
    pipelining: config.pipelining,
    // Stale connections only; other targets are the gateway's business.
    retries: 1,
    resolver: new SpreadingResolver({
      ttlMs: config.dnsRefreshMs,
      ...(environment.lookup === undefined ? {} : { lookup: environment.lookup }),
    }),
    tls: tlsOptions(config),
    // A gateway lives by its listeners; telling the loop per exchange costs more than it is worth.
    keepProcessAlive: true,
    parserLimits: { ...responseLimits, headBytesMax: config.limits.responseHeadBytesMax },
    transport: environment.transport,
    wheel: environment.wheel,
  };
}

function tlsOptions(config: UpstreamConfig): TlsOptions | undefined {
  if (config.tls === undefined) return undefined;
  const { ca, cert, key, serverName, verify } = config.tls;
  const options: TlsOptions = { rejectUnauthorized: verify };
  if (ca !== undefined) options.ca = readFileSync(ca, 'utf8');
  if (cert !== undefined) options.cert = readFileSync(cert, 'utf8');
  if (key !== undefined) options.key = readFileSync(key, 'utf8');
  if (serverName !== undefined) options.serverName = serverName;
  return options;
}

/** All deadlines of one route, where the route says nothing the upstream's. */
export function timeoutsOf(
  upstream: UpstreamConfig,
  route: Partial<Timeouts> | undefined,
): Timeouts {
  const own = Object.fromEntries(
    Object.entries(route ?? {}).filter(([, value]) => value !== undefined),
  ) as Partial<Timeouts>;
  return { ...upstream.timeouts, queueTimeoutMs: upstream.limits.queueTimeoutMs, ...own };
}
