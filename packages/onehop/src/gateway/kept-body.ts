/**
 * Bytes of a request body that have to wait: for the rest of it, for its model, for an upstream. They
 * lie in blocks that are filled before another is made, because a caller chooses how small its pieces
 * are, and each piece by itself would cost hundreds of bytes.
 */
import type { Exchange as UpstreamExchange } from '../client/index.ts';
import { WriteStatus } from '../transport/index.ts';
import type { GatewayExchange } from './exchange.ts';
import type { ScanBudget } from './scan-budget.ts';

/** Blocks grow with what is kept, so that at most half of them is empty, up to this. */
const blockBytesMax = 64 * 1024;
const blockBytesMin = 1024;

const copyOf = (bytes: Uint8Array, start: number, end: number): Uint8Array =>
  Uint8Array.prototype.slice.call(bytes, start, end);

export class KeptBody {
  /** Bytes of the body in here. */
  bytes = 0;
  /** Whole blocks are full but for {@link #room} in the last. */
  readonly #blocks: Uint8Array[] = [];
  #room = 0;
  /** The last block is a view of bytes that belong to somebody else. */
  #lent = false;
  readonly #budget: ScanBudget | null;
  /** What of the budget it has: the length of its blocks. */
  #counted = 0;

  /** `budget`: all it takes is taken from it, and given back when it is let go. */
  constructor(budget: ScanBudget | null = null) {
    this.#budget = budget;
  }

  /** What it takes of memory, empty room included. */
  get heldBytes(): number {
    return this.#counted;
  }

  /** Copies `bytes[start, end)`. */
  add(bytes: Uint8Array, start: number, end: number): void {
    const inRoom = Math.min(this.#room, end - start);
    if (inRoom > 0) {
      const last = this.#blocks[this.#blocks.length - 1]!;
      last.set(bytes.subarray(start, start + inRoom), last.length - this.#room);
      this.#room -= inRoom;
    }
    const from = start + inRoom;
    const rest = end - from;
    if (rest > 0) {
      const length = this.#blockLength(rest);
      if (length === rest) this.#blocks.push(copyOf(bytes, from, end));
      else {
        const block = new Uint8Array(length);
        block.set(bytes.subarray(from, end));
        this.#blocks.push(block);
      }
      this.#room = length - rest;
      this.#count(length);
    }
    this.bytes += end - start;
  }

  /** What {@link add} would take of memory for so many bytes more. */
  growth(bytes: number): number {
    const rest = bytes - this.#room;
    return rest > 0 ? this.#blockLength(rest) : 0;
  }

  /** A body mostly comes in one read, or in reads as long as a block: then nothing is left empty. */
  #blockLength(rest: number): number {
    if (this.bytes === 0 || rest >= blockBytesMax) return rest;
    return Math.max(rest, Math.min(blockBytesMax, Math.max(blockBytesMin, this.bytes)));
  }

  /**
   * Adds a view of borrowed bytes: what is sent on before the call returns, as the start of a long
   * body mostly is, need not be copied. {@link settle} follows.
   */
  lend(bytes: Uint8Array, start: number, end: number): void {
    this.#fit();
    this.#blocks.push(bytes.subarray(start, end));
    this.#lent = true;
    this.bytes += end - start;
  }

  /** Copies what was lent if it is still here. */
  settle(): void {
    if (!this.#lent) return;
    this.#lent = false;
    const last = this.#blocks.length - 1;
    const view = this.#blocks[last]!;
    this.#blocks[last] = copyOf(view, 0, view.length);
    this.#count(view.length);
  }

  /** The first block; it is no longer in here. Null when nothing is left. */
  shift(): Uint8Array | null {
    this.#fit();
    const block = this.#blocks.shift();
    if (block === undefined) return null;
    this.bytes -= block.length;
    if (this.#blocks.length === 0 && this.#lent) this.#lent = false;
    else this.#count(-Math.min(this.#counted, block.buffer.byteLength));
    return block;
  }

  /** All of it as one array; nothing is left in here. */
  join(): Uint8Array {
    this.#fit();
    const joined = this.#blocks.length === 1 ? this.#blocks[0]! : Buffer.concat(this.#blocks);
    this.drop();
    return joined;
  }

  /** Lets go of everything. */
  drop(): void {
    this.#blocks.length = 0;
    this.#room = 0;
    this.#lent = false;
    this.bytes = 0;
    this.#count(-this.#counted);
  }

  /** Cuts the empty room off the last block. */
  #fit(): void {
    if (this.#room === 0) return;
    const last = this.#blocks.length - 1;
    const block = this.#blocks[last]!;
    this.#blocks[last] = block.subarray(0, block.length - this.#room);
    this.#room = 0;
  }

  #count(bytes: number): void {
    this.#counted += bytes;
    this.#budget?.add(bytes);
  }
}

/** Sends what is kept, block by block; false when the upstream takes no more for now. */
export function sendPieces(exchange: GatewayExchange, upstream: UpstreamExchange): boolean {
  const pieces = exchange.pieces!;
  for (let block = pieces.shift(); block !== null; block = pieces.shift()) {
    const status = upstream.write(block, 0, block.length);
    if (status === WriteStatus.Queued) return false;
    if (status === WriteStatus.Closed) {
      exchange.uploadClosed = true;
      pieces.drop();
    }
  }
  return true;
}

/** The exchange needs them no more; the one place where a scan gives back what it held. */
export function dropPieces(exchange: GatewayExchange): void {
  exchange.pieces!.drop();
  exchange.gateway.scans.leave(exchange);
}
