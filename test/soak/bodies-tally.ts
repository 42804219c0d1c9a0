/** What became of the transfers of a soak, by kind. */
import type { Pace } from './bodies-wire.ts';

export const megabyte = 1024 * 1024;
export const sizesMb = [1, 5, 20, 100] as const;

export interface Transfer {
  /** `gateway`, or the face of the client library. */
  via: 'gateway' | 'Client' | 'fetch';
  upload: boolean;
  size: number;
  chunked: boolean;
  key: number;
  /** Of the caller and of the upstream. */
  pace: Pace;
  farPace: Pace;
  close: boolean;
  /** The caller leaves after so many bytes; beyond the size it does not. */
  leaveAt: number;
}

export interface Tally {
  done: number;
  bytes: number;
  /** At least one side held the other up: sips, pauses, bursts; of `done`. */
  held: number;
  /** The caller left half-way, on purpose. */
  left: number;
}

/** Small requests in between are told apart by their size alone. */
export const kindOf = ({ via, upload, size, chunked }: Transfer): string =>
  size < megabyte
    ? `${via} small`
    : `${via} ${upload ? 'upload' : 'download'} ${size / megabyte} MB ${chunked ? 'chunked' : 'length'}`;

const isHeld = (pace: Pace): boolean => pace !== 'large' && pace !== 'mixed';

const failuresMax = 50;

export interface TransferReport {
  kinds: Record<string, Tally>;
  /** How many failed; the first ones in words. */
  failed: number;
  failures: string[];
}

export class TransferTally implements TransferReport {
  readonly kinds: Record<string, Tally> = {};
  failed = 0;
  readonly failures: string[] = [];

  #of(transfer: Transfer): Tally {
    const kind = kindOf(transfer);
    this.kinds[kind] ??= { done: 0, bytes: 0, held: 0, left: 0 };
    return this.kinds[kind];
  }

  done(transfer: Transfer): void {
    const tally = this.#of(transfer);
    tally.done++;
    tally.bytes += transfer.size;
    if (isHeld(transfer.pace) || isHeld(transfer.farPace)) tally.held++;
  }

  left(transfer: Transfer): void {
    this.#of(transfer).left++;
  }

  failedWith(transfer: Transfer, why: string): void {
    this.failed++;
    if (this.failures.length >= failuresMax) return;
    const { pace, farPace, close } = transfer;
    const how = `${pace} caller, ${farPace} upstream, ${close ? 'closed' : 'kept'}`;
    this.failures.push(`${kindOf(transfer)} (${how}): ${why}`);
  }
}

const shuffled = <T>(values: T[]): T[] => {
  for (let i = values.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [values[i], values[j]] = [values[j]!, values[i]!];
  }
  return values;
};

/** One caller in so many leaves half-way. */
const leaveShare = 0.1;
const callerPaces: readonly Pace[] = ['large', 'mixed', 'sips', 'sips', 'slow', 'bursty'];
const farPaces: readonly Pace[] = ['large', 'mixed', 'sips', 'slow'];

/**
 * Deals every way of moving `size` bytes once in random order, and then again: directions, framings and
 * paces of both sides. Two quick ones first, one for each direction, so that a short soak has both.
 */
export class Deck {
  readonly #vias: readonly Transfer['via'][];
  readonly #size: number;
  #cards: Transfer[] = [];

  constructor(vias: readonly Transfer['via'][], size: number) {
    this.#vias = vias;
    this.#size = size;
    this.#fill();
    for (const via of vias) {
      for (const upload of [true, false]) {
        const chunked = Math.random() < 0.5;
        this.#cards.push(this.#card(via, upload, chunked, 'large', 'mixed', this.#size + 1));
      }
    }
  }

  next(): Transfer {
    if (this.#cards.length === 0) this.#fill();
    return this.#cards.pop()!;
  }

  #fill(): void {
    for (const via of this.#vias) {
      for (const upload of [true, false]) {
        for (const chunked of [true, false]) {
          for (const pace of callerPaces) {
            for (const farPace of farPaces) {
              const leaves = Math.random() < leaveShare;
              const leaveAt = leaves ? Math.random() * this.#size : this.#size + 1;
              this.#cards.push(this.#card(via, upload, chunked, pace, farPace, leaveAt));
            }
          }
        }
      }
    }
    shuffled(this.#cards);
  }

  #card(
    via: Transfer['via'],
    upload: boolean,
    chunked: boolean,
    pace: Pace,
    farPace: Pace,
    leaveAt: number,
  ): Transfer {
    const key = Math.floor(Math.random() * 1e9);
    const close = Math.random() < 0.2;
    return { via, upload, size: this.#size, chunked, key, pace, farPace, close, leaveAt };
  }
}

/** Path and query that ask the upstream for its side. */
export function targetOf({ upload, size, chunked, key, farPace }: Transfer): string {
  const query = `size=${size}&key=${key}&chunked=${chunked ? 1 : 0}&pace=${farPace}`;
  return `/${upload ? 'take' : 'give'}?${query}`;
}

/** Runs decks side by side until it is told to stop, and each at least a few cards. */
export class Lanes {
  readonly #transfer: (transfer: Transfer, lane: object) => Promise<void>;
  readonly #loops: Promise<void>[] = [];
  #running = true;

  constructor(transfer: (transfer: Transfer, lane: object) => Promise<void>) {
    this.#transfer = transfer;
  }

  start(deck: Deck, cardsMin: number, goesOn: () => boolean): void {
    this.#loops.push(this.#run(deck, cardsMin, goesOn));
  }

  async #run(deck: Deck, cardsMin: number, goesOn: () => boolean): Promise<void> {
    const lane = {};
    for (let count = 0; (this.#running || count < cardsMin) && goesOn(); count++) {
      await this.#transfer(deck.next(), lane);
    }
  }

  async stop(): Promise<void> {
    this.#running = false;
    await Promise.all(this.#loops);
  }
}
