/**
 * What requests may hold in memory while their model is looked for, each of them and all together. A
 * caller chooses what is held: its model may stand at the end of a body of any length, or be missing.
 */
import type { Transport } from '../transport/index.ts';
import type { GatewayExchange } from './exchange.ts';

export interface ScanLimits {
  readonly scanBytesMax: number;
  readonly scansBytesMax: number;
  readonly requestBodyGraceMs: number;
}

type BlockMemory = Pick<Transport, 'block' | 'freeBlock' | 'bodyBuffer'>;

export class ScanBudget {
  readonly limits: ScanLimits;
  readonly memory: BlockMemory;
  /** Length of all blocks held now, empty room included. */
  bytes = 0;
  /** Requests that hold much, those that began first in front. */
  readonly #holders = new Set<GatewayExchange>();

  constructor(limits: ScanLimits, memory: BlockMemory) {
    this.limits = limits;
    this.memory = memory;
  }

  add(bytes: number): void {
    this.bytes += bytes;
  }

  hasRoom(bytes: number): boolean {
    return this.bytes + bytes <= this.limits.scansBytesMax;
  }

  enter(exchange: GatewayExchange): void {
    this.#holders.add(exchange);
  }

  leave(exchange: GatewayExchange): void {
    if (this.#holders.size > 0) this.#holders.delete(exchange);
  }

  /**
   * Who has been at it longest, if that is longer than a body may be slow: its caller could otherwise
   * keep everybody's room for hours, a byte at a time. Null when all are in time.
   */
  longest(nowMs: number): GatewayExchange | null {
    for (const exchange of this.#holders) {
      return nowMs - exchange.startMs > this.limits.requestBodyGraceMs ? exchange : null;
    }
    return null;
  }
}
