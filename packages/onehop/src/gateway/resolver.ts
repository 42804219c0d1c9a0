/** Names of targets: looked up again and again, each address a member of its own. */
import { isIP, type Resolver, SystemResolver } from '../client/index.ts';
import type { DeadlineWheel, OnehopError, TimerHandle } from '../core/index.ts';
import type { TargetConfig } from './config/schema.ts';
import { resolverOptions, type Upstream, type UpstreamEnvironment } from './upstream.ts';

/** A lookup that failed is made again after this, or after `dnsRefresh` if that is shorter. */
const failedAgainMs = 1000;
const refreshMinMs = 10;

/**
 * The ways to a name: one for each of its addresses in the family that has more of them (in the
 * family of the first when both have as many). An address of the other family is most likely the
 * same machine: it is no member of its own but what a connection falls back to (RFC 8305), so that
 * `localhost` is one target though it is both ::1 and 127.0.0.1.
 */
export function waysOf(addresses: readonly string[]): string[][] {
  const six = addresses.filter((address) => address.includes(':'));
  const four = addresses.filter((address) => !address.includes(':'));
  const sixLeads =
    six.length === four.length ? addresses[0]?.includes(':') === true : six.length > four.length;
  const [main, other] = sixLeads ? [six, four] : [four, six];
  return main.map((address, index) =>
    other.length === 0 ? [address] : [address, other[index % other.length]!],
  );
}

/** Keeps the members of one upstream in step with the addresses of its targets' names. */
export class NameWatcher {
  readonly #upstream: Upstream;
  readonly #wheel: DeadlineWheel;
  readonly #resolver: Resolver;
  readonly #onChange: () => void;
  readonly #timers = new Map<TargetConfig, TimerHandle>();
  #stopped = false;

  /** `onChange`: members came or are about to go. */
  constructor(upstream: Upstream, environment: UpstreamEnvironment, onChange: () => void) {
    this.#upstream = upstream;
    this.#wheel = environment.wheel;
    this.#onChange = onChange;
    const options = resolverOptions(upstream.config, environment);
    this.#resolver = new SystemResolver({ ...options, ttlMs: 0, failureTtlMs: 0 });
  }

  start(): void {
    for (const target of this.#upstream.config.targets) {
      if (target.socketPath === null && !isIP(target.host)) this.#look(target);
    }
  }

  stop(): void {
    this.#stopped = true;
    for (const timer of this.#timers.values()) this.#wheel.clearTimer(timer);
    this.#timers.clear();
  }

  #look(target: TargetConfig): void {
    try {
      this.#resolver.resolve(target.host, (error, addresses) => {
        if (this.#stopped) return;
        this.#answered(target, error, addresses);
      });
    } catch (thrown) {
      this.#threw(target, thrown);
    }
  }

  #answered(target: TargetConfig, error: OnehopError | null, addresses: readonly string[]): void {
    const { dnsRefreshMs } = this.#upstream.config;
    try {
      // A name that has no answer now keeps the addresses it had.
      if (error === null) {
        const nowMs = this.#wheel.nowMs();
        if (this.#upstream.setAddresses(target, waysOf(addresses), nowMs)) this.#onChange();
      }
      this.#again(target, error === null ? dnsRefreshMs : Math.min(dnsRefreshMs, failedAgainMs));
    } catch (thrown) {
      this.#threw(target, thrown);
    }
  }

  /** Whatever it was, the name is looked up again. */
  #threw(target: TargetConfig, thrown: unknown): void {
    this.#wheel.report(thrown, 'the lookup of a target');
    this.#soonAgain(target);
    try {
      // The members may have changed before it threw: the next lookup would find nothing new.
      if (!this.#stopped) this.#onChange();
    } catch (again) {
      this.#wheel.report(again, 'the lookup of a target');
    }
  }

  #soonAgain(target: TargetConfig): void {
    this.#again(target, Math.min(this.#upstream.config.dnsRefreshMs, failedAgainMs));
  }

  #again(target: TargetConfig, delayMs: number): void {
    if (this.#stopped) return;
    const waiting = this.#timers.get(target);
    if (waiting !== undefined) this.#wheel.clearTimer(waiting);
    this.#timers.set(
      target,
      this.#wheel.setTimer(
        'the lookup of a target',
        () => this.#look(target),
        Math.max(refreshMinMs, delayMs),
        () => this.#soonAgain(target),
      ),
    );
  }
}
