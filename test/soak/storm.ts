/**
 * Callers that vanish in every phase of an exchange, by FIN, by reset or with their whole process, and
 * how long it takes until the upstream sees its connection close. Callers, gateway and upstream are
 * processes of their own, so that none of them is late because another one is busy.
 */
import { type ChildGauges, GatewayChild } from './child.ts';
import { LineChild } from './children.ts';
import { DeafTarget } from './deaf.ts';
import type { CallersPlan } from './storm-callers-child.ts';
import {
  type Kill,
  openPhases,
  pause,
  phases,
  type UpstreamSight,
  wallMs,
} from './storm-phases.ts';

export interface StormOptions {
  /** Callers of each wave. */
  clients: number;
  /** How often it is repeated; memory is compared between them. */
  waves: number;
  /** Callers begin at random instants of so many milliseconds. */
  spreadMs: number;
  /**
   * `spread`: each is killed at a random instant. `at-once`: all hold an open exchange when their
   * process gets SIGKILL.
   */
  mode: 'spread' | 'at-once';
  /** Runtime of the gateway; default the one that runs this. */
  executable?: string;
  /** Without a gateway: what the callers and the upstream of the measurement cost by themselves. */
  direct?: boolean;
  seed?: number;
  /** How long the upstream may take to see every close, and the gauges to return to zero. */
  settleMs?: number;
}

/** What of a gateway must be zero while nobody calls. */
export const openOf = (gauges: ChildGauges): number =>
  gauges.exchangesOpen +
  gauges.pending +
  gauges.queued +
  gauges.connectionsOpen +
  gauges.connections;

export interface Delays {
  count: number;
  medianMs: number;
  p99Ms: number;
  worstMs: number;
}

export interface StormResult {
  mode: 'spread' | 'at-once';
  killed: number;
  /** Reached the upstream; the others were killed before. */
  arrived: number;
  /** Closes that the upstream never saw. */
  missed: number;
  /** Callers that were ended before they were killed, by reason. */
  faults: string[];
  /** From the kill to the close at the upstream. */
  all: Delays;
  byPhase: Record<string, Delays>;
  /** Null without a gateway. */
  before: ChildGauges | null;
  /** After each wave. */
  after: ChildGauges[];
}

/** The value below which `share` of the sorted values lie. */
const quantile = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;

function delaysOf(values: readonly number[]): Delays {
  const sorted = [...values].sort((a, b) => a - b);
  return {
    count: sorted.length,
    medianMs: quantile(sorted, 0.5),
    p99Ms: quantile(sorted, 0.99),
    worstMs: sorted.at(-1) ?? 0,
  };
}

/** What lingers on the callers' side ends within a second. */
const settleMsDefault = 1300;
/** How long a machine of any speed may take to bring every caller to the upstream. */
const arriveMs = 30_000;
const lookMs = 50;

class Storm {
  readonly #options: StormOptions;
  readonly #upstream: LineChild;
  readonly #gateway: GatewayChild | null;
  readonly #port: number;
  #nextId = 0;

  constructor(
    options: StormOptions,
    upstream: LineChild,
    gateway: GatewayChild | null,
    port: number,
  ) {
    this.#options = options;
    this.#upstream = upstream;
    this.#gateway = gateway;
    this.#port = port;
  }

  #plan(clients: number, spreadMs: number): CallersPlan {
    const { mode, direct = false, seed = 1 } = this.#options;
    const firstId = this.#nextId;
    this.#nextId += clients;
    const openOnly = mode === 'at-once' || direct;
    const hold = mode === 'at-once';
    const port = this.#port;
    return { port, firstId, clients, spreadMs, seed: seed + firstId, openOnly, hold };
  }

  async #kills(plan: CallersPlan): Promise<Kill[]> {
    const callers = new LineChild('storm-callers-child', [JSON.stringify(plan)]);
    const said = await callers.line(plan.spreadMs + 40_000);
    if (!plan.hold) {
      await callers.stop();
      return JSON.parse(said) as Kill[];
    }
    // All of them hold an open exchange, however long that takes; who never arrives is missed.
    await this.#until(async () => (await this.#sights('look')).length >= plan.clients, arriveMs);
    const { faults } = JSON.parse(said) as { faults: string[] };
    const killedMs = wallMs();
    await callers.kill();
    return Array.from({ length: plan.clients }, (_, index) => ({
      id: plan.firstId + index,
      phase: openPhases[(plan.firstId + index) % openPhases.length]!,
      reset: false,
      killedMs,
      fault: faults[index] ?? null,
    }));
  }

  /** Kills and what the upstream saw of them. */
  async wave(clients: number, spreadMs: number): Promise<[Kill, UpstreamSight | null][]> {
    const { settleMs = settleMsDefault } = this.#options;
    const kills = await this.#kills(this.#plan(clients, spreadMs));
    // Nobody is asked while closes are under way, or it would be late with them.
    await pause(Math.min(settleMs, settleMsDefault));
    await this.#until(() => this.#isSettled(), settleMs - settleMsDefault);
    const sights = await this.#sights('report');
    const byId = new Map(sights.map((sight) => [sight.id, sight]));
    return kills.map((kill) => [kill, byId.get(kill.id) ?? null]);
  }

  gauges(): Promise<ChildGauges> | null {
    return this.#gateway?.gauges() ?? null;
  }

  /** `report` also begins anew. */
  async #sights(how: 'look' | 'report'): Promise<UpstreamSight[]> {
    return JSON.parse(await this.#upstream.ask(how)) as UpstreamSight[];
  }

  async #isSettled(): Promise<boolean> {
    const gauges = await this.gauges();
    if (gauges !== null && openOf(gauges) > 0) return false;
    return (await this.#sights('look')).every(({ closedMs }) => closedMs !== null);
  }

  async #until(holds: () => Promise<boolean>, withinMs: number): Promise<void> {
    const endMs = wallMs() + withinMs;
    while (wallMs() < endMs && !(await holds())) await pause(lookMs);
  }
}

function summarise(
  options: StormOptions,
  pairs: readonly [Kill, UpstreamSight | null][],
): Omit<StormResult, 'before' | 'after'> {
  const byPhase = new Map<string, number[]>();
  const delays: number[] = [];
  let arrived = 0;
  let missed = 0;
  for (const [{ phase, reset, killedMs }, sight] of pairs) {
    if (sight === null) {
      if (openPhases.includes(phase) && options.mode === 'at-once') missed++;
      continue;
    }
    arrived++;
    if (sight.closedMs === null) {
      missed++;
      continue;
    }
    const how = options.mode === 'at-once' ? 'process killed' : reset ? 'reset' : 'FIN';
    const key = `${phase} ${how}`;
    const list = byPhase.get(key) ?? [];
    byPhase.set(key, list);
    list.push(sight.closedMs - killedMs);
    delays.push(sight.closedMs - killedMs);
  }
  return {
    mode: options.mode,
    killed: pairs.length,
    arrived,
    missed,
    faults: pairs.flatMap(([{ phase, fault }]) => (fault === null ? [] : [`${phase}: ${fault}`])),
    all: delaysOf(delays),
    byPhase: Object.fromEntries([...byPhase].sort().map(([key, list]) => [key, delaysOf(list)])),
  };
}

function configOf(upstreamPort: number, deafPort: number): object {
  const targets = [`http://127.0.0.1:${upstreamPort}`];
  return {
    upstreams: {
      up: { targets, limits: { pending: 10_000, pendingPerTarget: 10_000, connections: 10_000 } },
      few: { targets, limits: { pending: 3, queue: 10_000, queueWait: '10m' } },
      deaf: { targets: [`http://127.0.0.1:${deafPort}`], timeouts: { connect: '10m' } },
    },
    routes: [
      { path: '/queue/*', upstream: 'few' },
      { path: '/connecting/*', upstream: 'deaf' },
      { path: '/*', upstream: 'up' },
    ],
    // No deadline may end what a caller that was not heard leaving has left behind.
    limits: { connectionsPerAddress: 100_000, headTime: '10m', bodyGap: '10m' },
  };
}

export async function runStorm(options: StormOptions): Promise<StormResult> {
  const upstream = new LineChild('storm-upstream-child', []);
  const deaf = await DeafTarget.start();
  let gateway: GatewayChild | null = null;
  try {
    const upstreamPort = Number(await upstream.line());
    if (options.direct !== true) {
      gateway = await GatewayChild.start(configOf(upstreamPort, deaf.port), options.executable);
    }
    const storm = new Storm(options, upstream, gateway, gateway?.port ?? upstreamPort);
    const warmUp = Math.min(options.clients, 10 * phases.length);
    await storm.wave(warmUp, 500);
    const before = await storm.gauges();
    const pairs: [Kill, UpstreamSight | null][] = [];
    const after: ChildGauges[] = [];
    for (let wave = 0; wave < options.waves; wave++) {
      pairs.push(...(await storm.wave(options.clients, options.spreadMs)));
      const gauges = await storm.gauges();
      if (gauges !== null) after.push(gauges);
    }
    return { ...summarise(options, pairs), before, after };
  } finally {
    await gateway?.stop();
    await upstream.stop();
    await deaf.kill();
  }
}
