/** Active health checks: one small GET per member and interval, spread over the interval. */
import type { Exchange, ExchangeHandler } from '../client/index.ts';
import type { TimerHandle } from '../core/index.ts';
import { FieldBlock } from '../http1/index.ts';
import { admitWaiting } from './admission.ts';
import type { Gateway } from './gateway.ts';
import type { Member, Upstream } from './upstream.ts';

const probeFields = new FieldBlock(['user-agent', 'onehop-health', 'accept', '*/*']);

interface Probe {
  readonly checker: HealthChecker;
  readonly member: Member;
  status: number;
}

const probeHandler: ExchangeHandler = {
  onHead(exchange, head) {
    (exchange.context as Probe).status = head.status;
  },
  onBody() {},
  onEnd: (exchange) => conclude(exchange, true),
  onError(exchange, error) {
    // No connection free, or the origin closed by a reload: that is no news of the target.
    if (error.side === 'upstream') conclude(exchange, false);
    else inconclusive(exchange);
  },
  onFault: inconclusive,
};

function conclude(exchange: Exchange, ended: boolean): void {
  const { checker, member, status } = exchange.context as Probe;
  checker.concluded(member, ended && status >= 200 && status < 400);
}

function inconclusive(exchange: Exchange): void {
  const { checker, member } = exchange.context as Probe;
  checker.again(member);
}

/** Probes the members of one upstream until it is stopped. */
export class HealthChecker {
  readonly #gateway: Gateway;
  readonly #upstream: Upstream;
  readonly #timers = new Map<Member, TimerHandle>();
  #stopped = false;

  constructor(gateway: Gateway, upstream: Upstream) {
    this.#gateway = gateway;
    this.#upstream = upstream;
  }

  start(): void {
    const { path, intervalMs } = this.#upstream.config.health;
    if (path === null) return;
    const { members } = this.#upstream;
    members.forEach((member, index) => {
      this.#schedule(member, (intervalMs * index) / members.length);
    });
  }

  stop(): void {
    this.#stopped = true;
    for (const timer of this.#timers.values()) this.#gateway.wheel.clearTimer(timer);
    this.#timers.clear();
  }

  /** The members changed: new ones are probed at once, those that are leaving no more. */
  sync(): void {
    if (this.#upstream.config.health.path === null) return;
    for (const member of this.#upstream.members) {
      if (!member.draining && !this.#timers.has(member)) this.#schedule(member, 0);
    }
    for (const [member, timer] of this.#timers) {
      if (!member.draining) continue;
      this.#gateway.wheel.clearTimer(timer);
      this.#timers.delete(member);
    }
  }

  #schedule(member: Member, delayMs: number): void {
    if (this.#stopped || member.draining) return;
    const { wheel } = this.#gateway;
    const waiting = this.#timers.get(member);
    if (waiting !== undefined) wheel.clearTimer(waiting);
    this.#timers.set(
      member,
      wheel.setTimer(
        'the health check of a target',
        () => this.#probe(member),
        delayMs,
        () => this.again(member),
      ),
    );
  }

  #probe(member: Member): void {
    const { path, timeoutMs } = this.#upstream.config.health;
    const probe: Probe = { checker: this, member, status: 0 };
    member.origin.dispatch(
      {
        method: 'GET',
        target: `${member.config.pathPrefix}${path!}`,
        fields: probeFields,
        body: null,
        retries: 0,
        timeouts: {
          connectTimeoutMs: timeoutMs,
          headTimeoutMs: timeoutMs,
          firstByteTimeoutMs: timeoutMs,
          idleTimeoutMs: timeoutMs,
          totalTimeoutMs: timeoutMs,
          queueTimeoutMs: timeoutMs,
        },
      },
      probeHandler,
      probe,
    );
  }

  concluded(member: Member, healthy: boolean): void {
    if (this.#stopped || member.draining) return;
    if (member.onProbe(healthy, this.#gateway.nowMs())) {
      this.#gateway.observer.onHealth(this.#upstream, member, healthy);
      if (healthy) admitWaiting(this.#upstream);
    }
    this.again(member);
  }

  /** The next probe, one interval from now. */
  again(member: Member): void {
    this.#schedule(member, this.#upstream.config.health.intervalMs);
  }
}
