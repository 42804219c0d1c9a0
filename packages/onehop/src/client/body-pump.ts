import { OnehopError } from '../core/index.ts';
import { WriteStatus } from '../transport/index.ts';
import type { Exchange } from './exchange.ts';

/** A request body that is made while it is sent. Strings are sent as UTF-8. */
export type BodySource = AsyncIterable<Uint8Array | string> | Iterable<Uint8Array | string>;

/** Pulls a request body out of an iterable as fast as the connection takes it, and no faster. */
export class BodyPump {
  readonly #source: BodySource;
  #started = false;
  #drained: (() => void) | null = null;
  #over = false;

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
    this.#over = true;
    this.#wake();
  }

  #wake(): void {
    const drained = this.#drained;
    this.#drained = null;
    drained?.();
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
        const status = exchange.write(bytes, 0, bytes.length);
        if (status === WriteStatus.Closed) return;
        if (status === WriteStatus.Queued) {
          await new Promise<void>((resolve) => {
            this.#drained = resolve;
          });
        }
        if (this.#over) return;
      }
      exchange.endBody();
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
