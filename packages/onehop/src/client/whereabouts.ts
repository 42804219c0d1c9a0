/** Which addresses an origin is at: asked for each new connection, and again while there are some. */
import { Deadline, type DeadlineOwner } from '../core/index.ts';
import { isIP } from './ip.ts';
import type { Origin } from './origin.ts';
import type { Resolver } from './resolver.ts';

export class Whereabouts implements DeadlineOwner {
  readonly #origin: Origin;
  /** 0: the name is not looked up for connections that are open. */
  readonly #refreshMs: number;
  readonly #deadline: Deadline;
  #asking = false;
  /** Where connections go, when somebody else looks the name up; null: the resolver says. */
  #given: readonly string[] | null = null;

  constructor(origin: Origin, refreshMs: number) {
    this.#origin = origin;
    const named = origin.connectPath === null && !isIP(origin.connectHost);
    this.#refreshMs = named ? refreshMs : 0;
    this.#deadline = new Deadline(this, 0);
  }

  /** The addresses to try for a new connection; see {@link Resolver.resolve}. */
  resolve(done: Parameters<Resolver['resolve']>[1]): void {
    if (this.#given !== null) {
      done(null, this.#given);
      return;
    }
    const { resolver, connectHost } = this.#origin;
    resolver.resolve(connectHost, (error, addresses) => {
      // They may have been given in the meantime.
      if (this.#given !== null) done(null, this.#given);
      else done(error, addresses);
    });
  }

  /** From now on connections go there, whatever the resolver says. */
  give(addresses: readonly string[]): void {
    this.#given = addresses;
    this.stop();
  }

  stop(): void {
    this.#origin.wheel.disarm(this.#deadline);
  }

  /** A connection was opened: while there are any, the name is looked up again. */
  watch(): void {
    if (this.#refreshMs === 0 || this.#asking || this.#deadline.armed) return;
    if (this.#given !== null || !this.#origin.hasConnections) return;
    this.#origin.wheel.arm(this.#deadline, this.#refreshMs);
  }

  onDeadline(): void {
    const { resolver, connectHost } = this.#origin;
    if (!this.#origin.hasConnections) return;
    this.#asking = true;
    resolver.resolve(connectHost, (error, addresses) => {
      this.#asking = false;
      // A name that has no answer now keeps the addresses it had.
      if (error === null && this.#given === null) this.#origin.follow(addresses, addresses);
      this.watch();
    });
  }

  /** A resolver that threw has not answered; the name is looked up again. */
  onDeadlineThrew(_kind: number, error: unknown): void {
    this.#asking = false;
    this.#origin.wheel.report(error, 'a lookup of an open origin');
    this.watch();
  }
}
