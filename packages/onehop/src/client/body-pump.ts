import { OnehopError } from '../core/index.ts';
import { WriteStatus } from '../transport/index.ts';
import type { Exchange } from './exchange.ts';

/** A request body that is made while it is sent. Strings are sent as UTF-8. */
export type BodySource = AsyncIterable<Uint8Array | string> | Iterable<Uint8Array | string>;

/** Of a source that can be told that no more is wanted, even while it is being waited for. */
export const stopSource: unique symbol = Symbol('stop');

export interface StoppableSource {
  [stopSource](): void;
}

/** No more is wanted of a source; what cannot be told waits for its next piece. */
export function stopAsking(source: BodySource): void {
  (source as Partial<StoppableSource>)[stopSource]?.();
}

/** Pulls a request body out of an iterable as fast as the connection takes it, and no faster. */
export class BodyPump {
  readonly #source: BodySource;
  #started = false;
  #drained: (() => void) | null = null;
  #over = false;
  #sentAny = false;

  constructor(source: BodySource) {
    this.#source = source;
  }

  /** The source was asked for its first piece: it cannot be sent from its start again. */
  get started(): boolean {
    return this.#started;
  }

  /** The connection takes bytes: `onDrain` of the exchange. */
  onDrain(exchange: Exchange): void {
    if (!this.#started) {
      this.#started = true;
      void this.#run(exchange);
      return;
    }
    this.#wake();
  }

  /** The exchange is over, well or badly: stop pulling and let the source clean up. */
  stop(): void {
    if (this.#over) return;
    this.#over = true;
    this.#wake();
    stopAsking(this.#source);
  }

  #wake(): void {
    const drained = this.#drained;
    this.#drained = null;
    drained?.();
  }

  #untilDrained(): Promise<void> {
    return new Promise((resolve) => {
      this.#drained = resolve;
    });
  }

  async #run(exchange: Exchange): Promise<void> {
    try {
      for await (const piece of this.#source) {
        if (this.#over) return;
        const bytes = typeof piece === 'string' ? Buffer.from(piece) : piece;
        if (!(bytes instanceof Uint8Array)) {
          throw new OnehopError('ARGUMENT_INVALID', 'a body must yield Uint8Array or string');
        }
        if (bytes.length === 0) continue;
        let status = exchange.write(bytes, 0, bytes.length);
        while (status === WriteStatus.Closed) {
          // `write` itself may have ended the exchange.
          if (this.#sentAny || this.#over) return;
          // Nothing of the body is on its way: the exchange may be moving to another connection.
          await this.#untilDrained();
          if (this.#over) return;
          status = exchange.write(bytes, 0, bytes.length);
        }
        this.#sentAny = true;
        if (status === WriteStatus.Queued) await this.#untilDrained();
        if (this.#over) return;
      }
      // The source was empty, and the exchange may be moving to another connection.
      while (exchange.connection === null && !this.#over) await this.#untilDrained();
      if (!this.#over) exchange.endBody();
    } catch (error) {
      exchange.abort(error);
    }
  }
}

/** Whether a value can be the source of a streamed body. */
export function isBodySource(value: unknown): value is BodySource {
  return (
    typeof value === 'object' &&
    value !== null &&
    (Symbol.asyncIterator in value || Symbol.iterator in value)
  );
}
