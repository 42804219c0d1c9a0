/** Names of targets with several addresses: new connections take them in turn. */
import { type Resolver, type ResolverOptions, SystemResolver } from '../client/index.ts';
import type { OnehopError } from '../core/index.ts';

/**
 * Looks names up again every `ttlMs` and begins with another of their addresses each time it is
 * asked, so that the connections of one target spread over all of them; the others follow, so that
 * one that does not answer is passed over. An address that leaves the name gets no new connections,
 * and its old ones retire by age.
 */
export class SpreadingResolver implements Resolver {
  readonly #inner: SystemResolver;
  #turn = 0;

  constructor(options: ResolverOptions) {
    this.#inner = new SystemResolver(options);
  }

  resolve(
    host: string,
    done: (error: OnehopError | null, addresses: readonly string[]) => void,
  ): void {
    this.#inner.resolve(host, (error, addresses) => {
      if (addresses.length < 2) {
        done(error, addresses);
        return;
      }
      const first = this.#turn++ % addresses.length;
      done(error, [...addresses.slice(first), ...addresses.slice(0, first)]);
    });
  }
}
