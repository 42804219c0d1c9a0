/**
 * Which target takes the next exchange. One class per policy, chosen once when the configuration is
 * compiled. A pick looks at the targets that are up, below their own limit and not yet tried by this
 * exchange; it allocates nothing.
 */
import type { UpstreamConfig } from '../config/schema.ts';
import type { Target } from './target.ts';

export interface PickContext {
  nowMs: number;
  /** Targets this exchange has tried, as a bit mask over their index; bit 31 stands for all above. */
  tried: number;
  /** Hash of the affinity key; 0 when there is none. */
  keyHash: number;
}

export interface Balancer {
  /** The chosen target, or null when none can take an exchange now. */
  pick(context: PickContext): Target | null;
}

export interface BalancerOptions {
  readonly pendingPerTargetMax: number;
  readonly slowStartMs: number;
  /** 0 ≤ x < 1; `Math.random` outside tests. */
  readonly random: () => number;
}

export const triedBit = (index: number): number => 1 << Math.min(index, 31);

abstract class Base implements Balancer {
  protected readonly targets: readonly Target[];
  protected readonly options: BalancerOptions;

  constructor(targets: readonly Target[], options: BalancerOptions) {
    this.targets = targets;
    this.options = options;
  }

  abstract pick(context: PickContext): Target | null;

  protected canTake(index: number, context: PickContext): boolean {
    const target = this.targets[index]!;
    return (
      target.weight > 0 &&
      (context.tried & triedBit(index)) === 0 &&
      target.pending < this.options.pendingPerTargetMax &&
      target.isUp(context.nowMs)
    );
  }

  /** Pending per unit of warm weight: what is compared between targets. */
  protected load(index: number, context: PickContext): number {
    const target = this.targets[index]!;
    const share = target.weight * target.warmth(context.nowMs, this.options.slowStartMs);
    return (target.pending + 1) / share;
  }
}

/** In turn; a target in slow start lets a part of its turns pass. */
class RoundRobin extends Base {
  #next = 0;

  pick(context: PickContext): Target | null {
    const count = this.targets.length;
    let cold = -1;
    for (let step = 0; step < count; step++) {
      const index = (this.#next + step) % count;
      if (!this.canTake(index, context)) continue;
      const warmth = this.targets[index]!.warmth(context.nowMs, this.options.slowStartMs);
      if (warmth < 1 && this.options.random() >= warmth) {
        if (cold === -1) cold = index;
        continue;
      }
      this.#next = (index + 1) % count;
      return this.targets[index]!;
    }
    return cold === -1 ? null : this.targets[cold]!;
  }
}

/** Smooth weighted round-robin: a weight of 3 is spread over the turns, not served in a burst. */
class Weighted extends Base {
  pick(context: PickContext): Target | null {
    let total = 0;
    let best: Target | null = null;
    for (let index = 0; index < this.targets.length; index++) {
      if (!this.canTake(index, context)) continue;
      const target = this.targets[index]!;
      const weight = target.weight * target.warmth(context.nowMs, this.options.slowStartMs);
      total += weight;
      target.currentWeight += weight;
      if (best === null || target.currentWeight > best.currentWeight) best = target;
    }
    if (best !== null) best.currentWeight -= total;
    return best;
  }
}

/** Fewest exchanges under way per weight; ties go in turn, or one target would get all idle traffic. */
class LeastPending extends Base {
  #next = 0;

  pick(context: PickContext): Target | null {
    const count = this.targets.length;
    let best = -1;
    let bestLoad = Number.POSITIVE_INFINITY;
    for (let step = 0; step < count; step++) {
      const index = (this.#next + step) % count;
      if (!this.canTake(index, context)) continue;
      const load = this.load(index, context);
      if (load < bestLoad) {
        best = index;
        bestLoad = load;
      }
    }
    if (best === -1) return null;
    this.#next = (best + 1) % count;
    return this.targets[best]!;
  }
}

/** The less loaded of two random targets: nearly as good as looking at all, without herding. */
class PowerOfTwo extends Base {
  pick(context: PickContext): Target | null {
    let up = 0;
    for (let index = 0; index < this.targets.length; index++) {
      if (this.canTake(index, context)) up++;
    }
    if (up === 0) return null;
    const first = this.#nth(Math.floor(this.options.random() * up), context);
    if (up === 1) return this.targets[first]!;
    let skip = Math.floor(this.options.random() * (up - 1));
    let second = this.#nth(skip, context);
    if (second >= first) second = this.#nth(++skip, context);
    const chosen = this.load(second, context) < this.load(first, context) ? second : first;
    return this.targets[chosen]!;
  }

  #nth(n: number, context: PickContext): number {
    let left = n;
    for (let index = 0; index < this.targets.length; index++) {
      if (this.canTake(index, context) && left-- === 0) return index;
    }
    throw new Error('counted one target more than there are');
  }
}

/**
 * Weighted rendezvous hashing: every worker and every replica picks alike without sharing state, and
 * when a target goes only its own keys move. Loads are bounded: a target with far more than its part
 * passes the key on to the next in its order.
 */
class KeyHash extends Base {
  pick(context: PickContext): Target | null {
    const within = this.#best(context, this.#bound(context));
    return within ?? this.#best(context, Number.POSITIVE_INFINITY);
  }

  /** 1.25 times the mean load, at least two: the bound of consistent hashing with bounded loads. */
  #bound(context: PickContext): number {
    let pending = 0;
    let up = 0;
    for (let index = 0; index < this.targets.length; index++) {
      if (!this.targets[index]!.isUp(context.nowMs)) continue;
      pending += this.targets[index]!.pending;
      up++;
    }
    return up === 0 ? 0 : Math.max(2, Math.ceil(((pending + 1) / up) * 1.25));
  }

  #best(context: PickContext, bound: number): Target | null {
    let best: Target | null = null;
    let bestScore = Number.NEGATIVE_INFINITY;
    for (let index = 0; index < this.targets.length; index++) {
      const target = this.targets[index]!;
      if (!this.canTake(index, context) || target.pending >= bound) continue;
      // -weight / ln(u), u uniform in (0, 1) from key and target.
      const mixed = mix(context.keyHash ^ target.seed);
      const score = -target.weight / Math.log((mixed + 0.5) / 0x1_0000_0000);
      if (score > bestScore) {
        best = target;
        bestScore = score;
      }
    }
    return best;
  }
}

/** Finaliser of MurmurHash3: every bit of the input moves half of the output's. */
function mix(value: number): number {
  let h = value;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

const POLICIES = {
  'round-robin': RoundRobin,
  weighted: Weighted,
  'least-pending': LeastPending,
  p2c: PowerOfTwo,
  hash: KeyHash,
} as const satisfies Record<UpstreamConfig['balance'], unknown>;

/** Compiles the policy of an upstream. `targets` is shared with health and metrics, and may grow. */
export function createBalancer(
  policy: UpstreamConfig['balance'],
  targets: readonly Target[],
  options: BalancerOptions,
): Balancer {
  return new POLICIES[policy](targets, options);
}
