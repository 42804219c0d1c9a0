/** What an instance of the API program sees when it plays the upstream. */

export interface UpstreamStats {
  requests: number;
  /** Connections whose first request came in the window; control requests do not count. */
  connectionsOpened: number;
  /** Most requests that were found waiting in one turn of the event loop. */
  concurrencyPeak: number;
}

export class UpstreamCounters {
  #stats: UpstreamStats = { requests: 0, connectionsOpened: 0, concurrencyPeak: 0 };
  readonly #seen = new WeakSet<object>();
  #turn = 0;

  /** Counts one request that came over `socket`. */
  add(socket: object): void {
    const stats = this.#stats;
    stats.requests++;
    if (!this.#seen.has(socket)) {
      this.#seen.add(socket);
      stats.connectionsOpened++;
    }
    if (this.#turn === 0) setImmediate(this.#endTurn);
    this.#turn++;
    if (this.#turn > stats.concurrencyPeak) stats.concurrencyPeak = this.#turn;
  }

  read(): UpstreamStats {
    return { ...this.#stats };
  }

  reset(): void {
    this.#stats = { requests: 0, connectionsOpened: 0, concurrencyPeak: 0 };
  }

  readonly #endTurn = (): void => {
    this.#turn = 0;
  };
}
