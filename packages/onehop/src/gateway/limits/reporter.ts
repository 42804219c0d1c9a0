/**
 * Counts what limits turn away, and says so: the first time at once, then at most every ten seconds for
 * each limit, with how often it was since. Whoever is flooded is told, and not flooded with that.
 */
import { Deadline, type DeadlineOwner, type DeadlineWheel } from '../../core/index.ts';
import { formatBytes, formatDuration } from '../config/units.ts';
import type { LimitUnit } from './catalogue.ts';

/** Where a limit was met, and what is told of it. */
export interface LimitPlace {
  /** The key of the configuration that changes it: `upstreams.llm.limits.queue`. */
  readonly key: string;
  /** One of what was turned away, and what became of it. */
  readonly what: string;
  readonly did: string;
  /** What is in force, in words where it is not what the key says. */
  readonly value: number | string;
  readonly unit: LimitUnit;
  readonly advice: string;
}

/** What an observer is told of a limit that turned something away. */
export interface LimitReport {
  /** The key of the configuration that changes the limit: `limits.connectionsPerAddress`. */
  readonly key: string;
  /** How many since the report before; 1 when it is the first for a while. */
  readonly count: number;
  /** How many since the start. */
  readonly total: number;
  /** In how much time they came, ms; 0 for one that is told at once. */
  readonly overMs: number;
  /** What they were answered with; 0 when the answer had begun, or there was none. */
  readonly status: number;
  /** The peer that had most of them; empty when there is none to name. */
  readonly address: string;
  /** All of it in one line, without control characters. */
  readonly text: string;
}

export const reportEveryMs = 10_000;
/** Peers that are told apart within ten seconds; of more only some can be the one with most. */
const addressesMax = 64;

/** As it is, but for what could be taken for another line or move a terminal's cursor. */
export const printable = (text: string): string =>
  text.replace(/[^\x20-\x7e]/g, (char) => {
    const code = char.charCodeAt(0);
    return code > 0xff ? `\\u${code.toString(16).padStart(4, '0')}` : `\\x${hex(code)}`;
  });
const hex = (code: number): string => code.toString(16).padStart(2, '0');

/** One limit in one place, from its first breach on. */
class Tally implements DeadlineOwner {
  /** As it was when it turned something away last: a reload may have changed its value. */
  place: LimitPlace;
  total = 0;
  readonly #reporter: LimitReporter;
  readonly #deadline: Deadline;
  readonly #addresses = new Map<string, number>();
  #count = 0;
  #sinceMs = 0;
  #status = 0;

  constructor(place: LimitPlace, reporter: LimitReporter) {
    this.place = place;
    this.#reporter = reporter;
    this.#deadline = new Deadline(this, 0);
  }

  hit(status: number, address: string): void {
    this.total++;
    this.#count++;
    this.#status = status;
    if (address !== '') {
      const count = this.#addresses.get(address);
      if (count !== undefined || this.#addresses.size < addressesMax) {
        this.#addresses.set(address, (count ?? 0) + 1);
      }
    }
    if (!this.#deadline.armed) this.#tell(0);
  }

  onDeadline(): void {
    this.flush();
  }

  /** Tells what has not been told yet. */
  flush(): void {
    if (this.#count === 0) return;
    this.#tell(this.#reporter.wheel.nowMs() - this.#sinceMs);
  }

  stop(): void {
    this.flush();
    this.#reporter.wheel.disarm(this.#deadline);
  }

  #tell(overMs: number): void {
    const { place, total } = this;
    const count = this.#count;
    const status = this.#status;
    const address = this.#most();
    this.#count = 0;
    this.#addresses.clear();
    this.#sinceMs = this.#reporter.wheel.nowMs();
    // Armed first: whoever is told may be refused by the same limit.
    this.#reporter.wheel.arm(this.#deadline, reportEveryMs);
    const facts = { key: place.key, count, total, overMs, status, address };
    this.#reporter.emit({ ...facts, text: lineOf(place, facts) });
  }

  #most(): string {
    let most = '';
    let mostCount = 0;
    for (const [address, count] of this.#addresses) {
      if (count <= mostCount) continue;
      most = address;
      mostCount = count;
    }
    return most;
  }
}

function lineOf(place: LimitPlace, report: Omit<LimitReport, 'text'>): string {
  const { count, overMs, status, address } = report;
  const what = count === 1 ? place.what : plural(place.what);
  const told = status === 0 ? '' : ` (${status})`;
  const when = overMs === 0 ? 'so far' : `in ${Math.max(1, Math.round(overMs / 1000))} s`;
  const from = address === '' ? '' : ` (${overMs === 0 ? '' : 'most '}from ${address})`;
  return printable(
    `limit: ${count} ${what} ${place.did}${told} ${when}: ` +
      `${place.key} is ${inWords(place)}${from}; ${place.advice}`,
  );
}

function inWords({ value, unit }: LimitPlace): string {
  if (typeof value === 'string') return value;
  if (unit === 'bytes') return formatBytes(value);
  if (unit === 'bytesPerSecond') return `${value} bytes per second`;
  if (unit === 'ms') return formatDuration(value);
  return unit === 'share' ? `${value * 100}%` : String(value);
}

const plural = (word: string): string =>
  word.endsWith('y') ? `${word.slice(0, -1)}ies` : `${word}s`;

export class LimitReporter {
  readonly wheel: DeadlineWheel;
  readonly emit: (report: LimitReport) => void;
  readonly #tallies = new Map<string, Tally>();

  /** `emit` is told at once of the first breach of a limit, then every ten seconds of those since. */
  constructor(wheel: DeadlineWheel, emit: (report: LimitReport) => void) {
    this.wheel = wheel;
    this.emit = emit;
  }

  /**
   * A limit turned something away. `status`: the answer, 0 without one of our own. `address`: whose it
   * was, where that matters; else empty.
   */
  hit(place: LimitPlace, status: number, address: string): void {
    let tally = this.#tallies.get(place.key);
    if (tally === undefined) {
      tally = new Tally(place, this);
      this.#tallies.set(place.key, tally);
    }
    tally.place = place;
    tally.hit(status, address);
  }

  /** How often each limit turned something away, by its key. */
  totals(): [key: string, total: number][] {
    return [...this.#tallies].map(([key, { total }]) => [key, total]);
  }

  /** The gateway ends: what was not told yet is told now. */
  close(): void {
    for (const tally of this.#tallies.values()) tally.stop();
  }
}
