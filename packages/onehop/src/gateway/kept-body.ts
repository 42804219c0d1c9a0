/**
 * Bytes of a request body that have to wait: for the rest of it, for its model, for an upstream. They
 * lie in blocks that are filled before another is made, because a caller chooses how small its pieces
 * are, and each piece by itself would cost hundreds of bytes.
 */
import type { Exchange as UpstreamExchange } from '../client/index.ts';
import { WriteStatus } from '../transport/index.ts';
import type { GatewayExchange } from './exchange.ts';
import type { ScanBudget } from './scan-budget.ts';

/** Blocks grow with what is kept, so that at most half of them is empty. */
const blockBytesMin = 1024;
const blockBytesMax = 64 * 1024;
/** Up to this where the memory is given back by hand. */
const freedBytesMax = 1024 * 1024;

const copyOf = (bytes: Uint8Array, start: number, end: number): Uint8Array =>
  Uint8Array.prototype.slice.call(bytes, start, end);

interface Block {
  readonly bytes: Uint8Array;
  /** What is in it and not out yet is `bytes[start, end)`. */
  start: number;
  end: number;
  /** A view of bytes that belong to somebody else. */
  lent: boolean;
  /** Of `ScanBudget.memory`. */
  freed: boolean;
}

export class KeptBody {
  /** Bytes of the body in here. */
  bytes = 0;
  readonly #blocks: Block[] = [];
  readonly #budget: ScanBudget | null;
  /** Length of all blocks but one that is lent. */
  #held = 0;

  /** `budget`: all that is held is counted in it until it is let go. */
  constructor(budget: ScanBudget | null = null) {
    this.#budget = budget;
  }

  /** What it takes of memory, empty room included. */
  get heldBytes(): number {
    return this.#held;
  }

  /** Copies `bytes[start, end)`. */
  add(bytes: Uint8Array, start: number, end: number): void {
    const last = this.#last;
    const inRoom = Math.min(this.#room, end - start);
    if (inRoom > 0) {
      last!.bytes.set(bytes.subarray(start, start + inRoom), last!.end);
      last!.end += inRoom;
    }
    const rest = end - start - inRoom;
    if (rest > 0) this.#addBlock(bytes, start + inRoom, end);
    this.bytes += end - start;
  }

  #addBlock(bytes: Uint8Array, start: number, end: number): void {
    const length = this.#blockLength(end - start);
    const freed = this.#isFreed(length);
    let own: Uint8Array;
    if (!freed && length === end - start) own = copyOf(bytes, start, end);
    else {
      own = freed ? this.#budget!.memory.block(length) : new Uint8Array(length);
      own.set(bytes.subarray(start, end));
    }
    this.#blocks.push({ bytes: own, start: 0, end: end - start, lent: false, freed });
    this.#hold(length);
  }

  /** What {@link add} would take of memory for so many bytes more. */
  growth(bytes: number): number {
    const rest = bytes - this.#room;
    return rest > 0 ? this.#blockLength(rest) : 0;
  }

  get #last(): Block | undefined {
    return this.#blocks[this.#blocks.length - 1];
  }

  get #room(): number {
    const last = this.#last;
    return last === undefined || last.lent ? 0 : last.bytes.length - last.end;
  }

  /**
   * A body mostly comes in one read: then nothing is left empty. Where memory is given back by hand
   * there are few lengths, so that blocks can be used again.
   */
  #blockLength(rest: number): number {
    const longest = this.#budget === null ? blockBytesMax : freedBytesMax;
    const grown = this.bytes === 0 ? 0 : Math.min(longest, Math.max(blockBytesMin, this.bytes));
    const length = Math.max(rest, grown);
    if (!this.#isFreed(length)) return length;
    const rounded = 2 ** (31 - Math.clz32(length));
    return rounded < rest ? rounded * 2 : rounded;
  }

  /** Small bodies come and go like other small objects. */
  #isFreed(length: number): boolean {
    return this.#budget !== null && length >= blockBytesMax;
  }

  /**
   * Adds a view of borrowed bytes: what is sent on before the call returns, as the start of a long
   * body mostly is, need not be copied. {@link settle} follows.
   */
  lend(bytes: Uint8Array, start: number, end: number): void {
    this.#blocks.push({ bytes, start, end, lent: true, freed: false });
    this.bytes += end - start;
  }

  /** Copies what was lent if it is still here. */
  settle(): void {
    const last = this.#last;
    if (last === undefined || !last.lent) return;
    this.#blocks.pop();
    this.bytes -= last.end - last.start;
    this.add(last.bytes, last.start, last.end);
  }

  /** The first bytes, which are no longer in here and of nobody else. Null when nothing is left. */
  shift(): Uint8Array | null {
    const block = this.#blocks[0];
    if (block === undefined) return null;
    const { bytes, start, lent, freed } = block;
    const end = freed ? Math.min(block.end, start + blockBytesMax) : block.end;
    this.bytes -= end - start;
    block.start = end;
    const taken = freed ? this.#copyOut(bytes, start, end) : bytes.subarray(start, end);
    if (end === block.end) {
      this.#blocks.shift();
      // First, because its length is 0 afterwards.
      if (!lent) this.#hold(-bytes.length);
      if (freed) this.#budget!.memory.freeBlock(bytes);
    }
    return taken;
  }

  /** Puts back what {@link shift} took, as a copy: it may be of memory that was only lent. */
  unshift(bytes: Uint8Array): void {
    const own = copyOf(bytes, 0, bytes.length);
    this.#blocks.unshift({ bytes: own, start: 0, end: own.length, lent: false, freed: false });
    this.bytes += own.length;
    this.#hold(own.length);
  }

  #copyOut(bytes: Uint8Array, start: number, end: number): Uint8Array {
    const copy = this.#budget!.memory.bodyBuffer(end - start);
    copy.set(bytes.subarray(start, end));
    return copy;
  }

  /** All of it as one array; nothing is left in here. */
  join(): Uint8Array {
    const parts = this.#blocks.map(({ bytes, start, end }) => bytes.subarray(start, end));
    const [only] = this.#blocks;
    const joined =
      parts.length === 1 && !only!.freed && !only!.lent ? parts[0]! : Buffer.concat(parts);
    this.drop();
    return joined;
  }

  /** Lets go of everything. */
  drop(): void {
    for (const { bytes, freed } of this.#blocks) if (freed) this.#budget!.memory.freeBlock(bytes);
    this.#blocks.length = 0;
    this.bytes = 0;
    this.#hold(-this.#held);
  }

  #hold(bytes: number): void {
    this.#held += bytes;
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
      if (upstream.bodyReplayable) {
        // Nothing of it was taken: another attempt may begin with it.
        pieces.unshift(block);
        return false;
      }
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
