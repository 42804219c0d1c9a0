import type { SimClock } from './clock.ts';
import type { Random } from './random.ts';
import type { SimSocket } from './socket.ts';

export interface SimOptions {
  /** Same seed, same run. Default: a random one; read it from `seed` and print it on failure. */
  seed?: number;
  /** Every event on the network takes up to this long, 0 to here, so sockets overtake each other. */
  latencyMsMax?: number;
  /** Chance that a read is cut at a random point (0 to 1). */
  splitChance?: number;
  /** Chance that the kernel takes only a random part of a write. */
  partialWriteChance?: number;
  /** Chance, per event, that the connection is reset. */
  resetChance?: number;
  /** Chance, per event, that the connection goes silent: nothing arrives, nobody is told. */
  dropChance?: number;
  /** Chance that a connect is refused although somebody listens. */
  refuseChance?: number;
  /** Largest read. */
  readBytesMax?: number;
  /** Largest amount the kernels hold in one direction; each connection draws its own. */
  kernelBytesMax?: number;
}

/** What the sockets of one simulation share. */
export interface SimNetwork {
  readonly clock: SimClock;
  readonly random: Random;
  readonly options: Required<SimOptions>;
  /** All that are not closed. */
  readonly sockets: Set<SimSocket<unknown>>;
  /** Runs `callback` as an event after a random latency; never synchronously. */
  later(callback: () => void): void;
  breakConnection(one: SimSocket<unknown>, other: SimSocket<unknown>): void;
}
