/**
 * Host names to addresses: `node:dns` lookup (so /etc/hosts and nsswitch count, as everywhere else on
 * the machine) behind a cache. The system does not tell the record's TTL, hence a fixed one.
 */
import { type LookupAddress, lookup } from 'node:dns';
import { type FaultReport, OnehopError, reportFault } from '../core/index.ts';
import { isIP } from './ip.ts';

export interface Resolver {
  /**
   * The addresses of `host` in the order in which to try them, families interleaved. Calls back once,
   * synchronously when the answer is at hand. Errors: RESOLVE_FAILED.
   */
  resolve(
    host: string,
    done: (error: OnehopError | null, addresses: readonly string[]) => void,
  ): void;
}

type LookupAll = (
  host: string,
  done: (error: Error | null, addresses: readonly LookupAddress[]) => void,
) => void;

export interface ResolverOptions {
  /** How long an answer is used, ms. Default 10,000; 0 asks every time. */
  ttlMs?: number;
  /** How long a failure is remembered, ms. Default 1,000. */
  failureTtlMs?: number;
  /** Names kept at most; the oldest goes first. Default 1,000. */
  namesMax?: number;
  /** Monotonic ms. */
  nowMs?: () => number;
  /** Stands in for `dns.lookup` with `all`. */
  lookup?: LookupAll;
  /** Takes what `lookup`, or whoever asked, throws. Default: a line on stderr. */
  report?: FaultReport;
}

const systemLookup: LookupAll = (host, done) => {
  lookup(host, { all: true, order: 'verbatim' } as { all: true }, (error, addresses) =>
    done(error, addresses ?? []),
  );
};

/**
 * RFC 8305 section 4: the first address decides which family goes first, then families alternate.
 * With no preference from the system IPv6 leads.
 */
export function interleave(addresses: readonly LookupAddress[]): string[] {
  const first = addresses.length > 0 ? addresses[0]!.family : 6;
  const leading: string[] = [];
  const other: string[] = [];
  for (const { address, family } of addresses) {
    const list = family === first ? leading : other;
    if (!list.includes(address)) list.push(address);
  }
  const result: string[] = [];
  for (let i = 0; i < Math.max(leading.length, other.length); i++) {
    if (i < leading.length) result.push(leading[i]!);
    if (i < other.length) result.push(other[i]!);
  }
  return result;
}

interface Entry {
  addresses: readonly string[];
  error: OnehopError | null;
  untilMs: number;
  waiters: ((error: OnehopError | null, addresses: readonly string[]) => void)[] | null;
}

const NONE: readonly string[] = [];

/** A caching {@link Resolver}: concurrent questions for one name become one lookup. */
export class SystemResolver implements Resolver {
  readonly #entries = new Map<string, Entry>();
  readonly #ttlMs: number;
  readonly #failureTtlMs: number;
  readonly #namesMax: number;
  readonly #nowMs: () => number;
  readonly #lookup: LookupAll;
  readonly #report: FaultReport;

  constructor(options: ResolverOptions = {}) {
    this.#ttlMs = options.ttlMs ?? 10_000;
    this.#failureTtlMs = options.failureTtlMs ?? 1000;
    this.#namesMax = options.namesMax ?? 1000;
    this.#nowMs = options.nowMs ?? (() => performance.now());
    this.#lookup = options.lookup ?? systemLookup;
    this.#report = options.report ?? reportFault;
  }

  resolve(
    host: string,
    done: (error: OnehopError | null, addresses: readonly string[]) => void,
  ): void {
    if (isIP(host)) {
      done(null, [host]);
      return;
    }
    let entry = this.#entries.get(host);
    if (entry !== undefined && entry.waiters === null && entry.untilMs > this.#nowMs()) {
      done(entry.error, entry.addresses);
      return;
    }
    if (entry?.waiters) {
      entry.waiters.push(done);
      return;
    }
    entry = { addresses: NONE, error: null, untilMs: 0, waiters: [done] };
    this.#remember(host, entry);
    try {
      this.#lookup(host, (error, addresses) => this.#answer(host, entry, error, addresses));
    } catch (error) {
      this.#report(error, 'the lookup of a name');
      this.#answer(host, entry, error as Error, NONE as never);
    }
  }

  #remember(host: string, entry: Entry): void {
    this.#entries.delete(host);
    if (this.#entries.size >= this.#namesMax) {
      for (const oldest of this.#entries.keys()) {
        this.#entries.delete(oldest);
        break;
      }
    }
    this.#entries.set(host, entry);
  }

  #answer(host: string, entry: Entry, error: Error | null, found: readonly LookupAddress[]): void {
    const waiters = entry.waiters ?? [];
    entry.waiters = null;
    if (error !== null || found.length === 0) {
      entry.error = new OnehopError('RESOLVE_FAILED', `no address for ${host}`, {
        phase: 'resolve',
        cause: error ?? undefined,
      });
      entry.untilMs = this.#nowMs() + this.#failureTtlMs;
    } else {
      entry.addresses = interleave(found);
      entry.untilMs = this.#nowMs() + this.#ttlMs;
    }
    for (const waiter of waiters) {
      try {
        waiter(entry.error, entry.addresses);
      } catch (thrown) {
        this.#report(thrown, 'whoever asked for the addresses of a name');
      }
    }
  }
}
