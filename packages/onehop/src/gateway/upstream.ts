/** A configured upstream at run time: its members with their connection pools, load and queue. */
import {
  Origin,
  type OriginAddress,
  type OriginOptions,
  type ResolverOptions,
  RetryBudget,
  SystemResolver,
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
  /**
   * The addresses of its machine, the one to try first in front. Empty where the target is an address
   * or a Unix socket itself, and while its name has not been looked up.
   */
  way: readonly string[] = [];
  /** Answers in a row that its addresses were not in. */
  absences = 0;

  constructor(index: number, config: TargetConfig, upstream: UpstreamConfig, origin: Origin) {
    super(config, upstream.health);
    this.index = index;
    this.config = config;
    this.origin = origin;
  }

  /** The address of the target's name that it stands for. */
  get address(): string | null {
    return this.way[0] ?? null;
  }

  /** Its address left the name and its last exchange is over: nothing is left to show. */
  get gone(): boolean {
    return this.draining && this.pending === 0;
  }
}

export class Upstream {
  readonly name: string;
  readonly config: UpstreamConfig;
  readonly #members: Member[] = [];
  readonly breaker: Breaker | null;
  readonly budget: RetryBudget;
  readonly queue = new RingQueue<GatewayExchange>();
  /** Exchanges under way, those that wait in the queue not counted. */
  pending = 0;
  /** Its queue is being let in, further up on the stack. */
  admitting = false;
  /** Where the observer counts for it; the observer's own. */
  series: unknown = null;
  readonly #environment: UpstreamEnvironment;
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
    this.#environment = environment;
    const sameWay = previous !== null && wayOf(previous.config) === wayOf(config);
    for (const target of config.targets) {
      const olds = sameWay
        ? previous.members.filter((old) => old.config.label === target.label && !old.draining)
        : [];
      if (olds.length === 0) this.#add(target, null);
      for (const old of olds) {
        const member = this.#add(target, old.origin);
        member.way = old.way;
        member.absences = old.absences;
        member.probedHealthy = old.probedHealthy;
        member.ejectedUntilMs = old.ejectedUntilMs;
      }
      nameMembers(this.#members.filter(({ config: own }) => own === target));
    }
    this.#balancer = createBalancer(config.balance, this.#members, {
      pendingPerTargetMax: config.limits.pendingPerTargetMax,
      slowStartMs: config.slowStartMs,
      random: environment.random,
    });
  }

  /** In the order of the file; a place is given to another only when its member is gone. */
  get members(): readonly Member[] {
    return this.#members;
  }

  /** A member in the first free place; without an origin to go on with, a new one. */
  #add(target: TargetConfig, origin: Origin | null): Member {
    const { config } = this;
    const free = this.#members.findIndex((member) => member.gone);
    const index = free === -1 ? this.#members.length : free;
    const options = () => originOptions(this.name, config, this.#environment);
    const way = origin ?? new Origin(addressOf(target), options());
    const member = new Member(index, target, config, way);
    this.#members[index] = member;
    return member;
  }

  /**
   * The addresses of a target's name now, each first in a list with those to fall back to. Each is a
   * member of its own, with its own connections, load and health; one that was absent for
   * `dnsGoneAfter` answers has left: it ends what it has and takes nothing new, and what waits for a
   * connection to it goes to another. True when members came or left.
   */
  setAddresses(target: TargetConfig, ways: readonly (readonly string[])[], nowMs: number): boolean {
    if (ways.length === 0) return false;
    const olds = this.#members.filter((member) => member.config === target && !member.draining);
    // The first answer names those that were there before; later ones are new and start slowly.
    const isFirst = olds.every(({ way }) => way.length === 0);
    const found = matchWays(olds, ways);
    const added = new Set<Member>();
    const staying: Member[] = [];
    const wanted = ways.flat();
    for (const [index, way] of ways.entries()) {
      const member = found[index] ?? this.#add(target, null);
      if (found[index] === null) {
        added.add(member);
        if (!isFirst) member.inRotationSinceMs = nowMs;
      }
      // Before the first answer its connections went to any of them: the others' are not its own.
      member.origin.setAddresses(way, isFirst ? way : wanted);
      member.way = way;
      member.absences = 0;
      staying.push(member);
    }
    const leaving: Member[] = [];
    for (const old of olds) {
      if (found.includes(old)) continue;
      old.absences++;
      (old.absences < this.config.dnsGoneAfter ? staying : leaving).push(old);
    }
    nameMembers(staying);
    for (const member of leaving) member.draining = true;
    // Nobody is left of those the breaker judged.
    const known = this.#members.some((member) => !member.draining && !added.has(member));
    if (leaving.length > 0 && !known) this.breaker?.tryNow(nowMs);
    // Last, because what waits on them goes to the others at once.
    for (const { origin } of leaving) void origin.leave();
    return leaving.length > 0 || added.size > 0;
  }

  /** The member for the next attempt, or null when none can take it now. */
  pick(nowMs: number, tried: number, keyHash: number): Member | null {
    const context = this.#context;
    context.nowMs = nowMs;
    context.tried = tried;
    context.keyHash = keyHash;
    return this.#balancer.pick(context) as Member | null;
  }

  /** Whether a member that was picked a while ago can take an exchange now. */
  canTake(member: Member, nowMs: number): boolean {
    return member.isUp(nowMs) && member.pending < this.config.limits.pendingPerTargetMax;
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

  /**
   * Who takes over what waited for a member that left, in the place it had there: the least loaded that
   * is up, full or not; or one that is ejected.
   */
  pickHeir(nowMs: number): Member | null {
    let found: Member | null = null;
    for (const member of this.members) {
      if (member.weight === 0 || !member.isUp(nowMs)) continue;
      if (found === null || member.pending < found.pending) found = member;
    }
    return found ?? this.pickEjected(0);
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

/**
 * Who of `members` each of the ways leads to; null: nobody yet. A machine is known again by any of its
 * addresses, so that it may lose or gain one of the other family. A member whose name had not been
 * looked up is the first of them.
 */
function matchWays(
  members: readonly Member[],
  ways: readonly (readonly string[])[],
): (Member | null)[] {
  const left = new Set(members);
  const take = (fits: (member: Member) => boolean): Member | null => {
    for (const member of left) {
      if (!fits(member)) continue;
      left.delete(member);
      return member;
    }
    return null;
  };
  const found = ways.map(([address]) => take((member) => member.address === address));
  for (const [index, way] of ways.entries()) {
    found[index] ??= take((member) => member.way.some((address) => way.includes(address)));
  }
  for (const index of ways.keys()) found[index] ??= take(({ way }) => way.length === 0);
  return found;
}

/** Members of one target are told apart by their addresses; one alone is the target itself. */
function nameMembers(members: readonly Member[]): void {
  for (const member of members) {
    const { label } = member.config;
    member.rename(members.length > 1 ? `${label} (${member.address})` : label);
  }
}

const addressOf = ({ scheme, host, port, socketPath }: TargetConfig): OriginAddress => ({
  scheme,
  host,
  port,
  ...(socketPath === null ? {} : { socketPath }),
});

/** How names of targets are looked up. */
export const resolverOptions = (
  config: UpstreamConfig,
  { lookup, wheel }: UpstreamEnvironment,
): ResolverOptions => ({
  report: wheel.report,
  ttlMs: config.dnsRefreshMs,
  ...(lookup === undefined ? {} : { lookup }),
});

/** What two versions of an upstream must agree on for a member to keep its connections. */
function wayOf(config: UpstreamConfig): string {
  const {
    pendingMax,
    pendingPerTargetMax,
    queueTimeoutMs,
    queueFullStatus,
    queueTimeoutStatus,
    ...ofOrigin
  } = config.limits;
  return JSON.stringify([ofOrigin, config.pipelining, config.dnsRefreshMs, config.tls ?? null]);
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
    resolver: new SystemResolver(resolverOptions(config, environment)),
    // The names of targets are looked up by their NameWatcher.
    dnsRefreshMs: 0,
    tls: tlsOptions(config),
    // A gateway lives by its listeners; telling the loop per exchange costs more than it is worth.
    keepProcessAlive: true,
    parserLimits: {
      ...responseLimits,
      headBytesMax: config.limits.responseHeadBytesMax,
      // Grows with the head: it has no key of its own.
      headerBytesMax: Math.max(
        responseLimits.headerBytesMax,
        config.limits.responseHeadBytesMax >> 1,
      ),
      headersCountMax: config.limits.responseHeadersCountMax,
      interimResponsesMax: config.limits.interimResponsesMax,
    },
    transport: environment.transport,
    wheel: environment.wheel,
  };
}

function tlsOptions(config: UpstreamConfig): TlsOptions | undefined {
  if (config.tls === undefined) return undefined;
  const { serverName, verify, material } = config.tls;
  const options: TlsOptions = { rejectUnauthorized: verify };
  if (material.ca !== null) options.ca = material.ca;
  if (material.cert !== null) options.cert = material.cert;
  if (material.key !== null) options.key = material.key;
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
