/**
 * One member of an upstream as the balancer sees it: load, health, and how much of its share it gets
 * while it warms up. Pure state; probes and exchanges report into it, time is passed in.
 */
import type { TargetConfig } from '../config/schema.ts';
import { hashText } from './hash.ts';

export interface HealthRules {
  readonly healthyAfter: number;
  readonly unhealthyAfter: number;
  readonly ejectAfter: number;
  readonly ejectForMs: number;
}

/** Ejections last longer each time, up to this many times `ejectForMs`. */
const EJECTION_FACTOR_MAX = 10;

export class Target {
  label: string;
  /** Hash of the label: where it stands in the order of an affinity key. */
  seed: number;
  readonly weight: number;
  /** Exchanges under way. */
  pending = 0;
  /** What active probes last concluded; true until they say otherwise. */
  probedHealthy = true;
  ejectedUntilMs = 0;
  /** Its address left the name: takes no new exchanges, finishes its own. */
  draining = false;
  /** Since when it is (again) in rotation; slow start counts from here. */
  inRotationSinceMs = Number.NEGATIVE_INFINITY;
  /** Smooth weighted round-robin keeps its running sum here. */
  currentWeight = 0;

  readonly #rules: HealthRules;
  #probeStreak = 0;
  #failuresInRow = 0;
  #ejections = 0;

  constructor(config: TargetConfig, rules: HealthRules) {
    this.label = config.label;
    this.seed = hashText(config.label);
    this.weight = config.weight;
    this.#rules = rules;
  }

  /** It is to be told apart by another name from now on. */
  rename(label: string): void {
    if (label === this.label) return;
    this.label = label;
    this.seed = hashText(label);
  }

  isUp(nowMs: number): boolean {
    return this.probedHealthy && !this.draining && nowMs >= this.ejectedUntilMs;
  }

  /** A probe ended. True when this changed the verdict. */
  onProbe(ok: boolean, nowMs: number): boolean {
    if (ok === this.probedHealthy) {
      this.#probeStreak = 0;
      return false;
    }
    this.#probeStreak++;
    const needed = ok ? this.#rules.healthyAfter : this.#rules.unhealthyAfter;
    if (this.#probeStreak < needed) return false;
    this.#probeStreak = 0;
    this.probedHealthy = ok;
    if (ok) {
      this.inRotationSinceMs = nowMs;
      this.#failuresInRow = 0;
      this.ejectedUntilMs = 0;
    }
    return true;
  }

  /** An exchange was answered by the target, with whatever status that is not its own failure. */
  onSuccess(): void {
    this.#failuresInRow = 0;
    if (this.#ejections > 0) this.#ejections--;
  }

  /**
   * An exchange failed by the target's fault. Ejects it after `ejectAfter` in a row unless
   * `mayEject` is false (it is the last one standing). True when it was ejected now.
   */
  onFailure(nowMs: number, mayEject: boolean): boolean {
    this.#failuresInRow++;
    if (this.#failuresInRow < this.#rules.ejectAfter || !mayEject) return false;
    this.#failuresInRow = 0;
    this.#ejections = Math.min(this.#ejections + 1, EJECTION_FACTOR_MAX);
    this.ejectedUntilMs = nowMs + this.#rules.ejectForMs * this.#ejections;
    this.inRotationSinceMs = this.ejectedUntilMs;
    return true;
  }

  /** One more failure in a row and it is to be ejected. */
  get isFailing(): boolean {
    return this.#failuresInRow + 1 >= this.#rules.ejectAfter;
  }

  /** Takes it back before its time. False when something else than an ejection keeps it out. */
  endEjection(nowMs: number): boolean {
    if (!this.probedHealthy || this.draining) return false;
    if (this.ejectedUntilMs > nowMs) {
      this.ejectedUntilMs = 0;
      this.inRotationSinceMs = nowMs;
    }
    return true;
  }

  /** 0..1: the part of its weight it gets now. Never quite 0, or it would never be tried. */
  warmth(nowMs: number, slowStartMs: number): number {
    if (slowStartMs === 0) return 1;
    const since = nowMs - this.inRotationSinceMs;
    return since >= slowStartMs ? 1 : Math.max(0.1, since / slowStartMs);
  }
}
