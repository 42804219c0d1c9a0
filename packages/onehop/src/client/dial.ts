import { Deadline, type DeadlineOwner, OnehopError } from '../core/index.ts';
import type { Socket } from '../transport/index.ts';
import type { Connection } from './connection.ts';

const CONNECT = 0;
const STAGGER = 1;

/** RFC 8305 section 5: how long the first address has before the next one is tried beside it. */
export const connectionAttemptDelayMs = 250;

/**
 * Opens one connection: resolves the name, then races its addresses (happy eyeballs, RFC 8305). The
 * first socket that opens wins and the others are destroyed. Its deadline is the connect deadline.
 */
export class Dial implements DeadlineOwner {
  readonly #connection: Connection;
  readonly #sockets: Socket<Connection>[] = [];
  /** Where each of them goes. */
  readonly #targets: string[] = [];
  readonly #connectDeadline: Deadline;
  readonly #staggerDeadline: Deadline;
  readonly #connectTimeoutMs: number;
  #addresses: readonly string[] = [];
  /** They are known: empty then means that all of them were tried. */
  #resolved = false;
  #next = 0;
  #won = false;
  #over = false;
  #firstError: OnehopError | null = null;

  constructor(connection: Connection, connectTimeoutMs: number) {
    this.#connection = connection;
    this.#connectTimeoutMs = connectTimeoutMs;
    this.#connectDeadline = new Deadline(this, CONNECT);
    this.#staggerDeadline = new Deadline(this, STAGGER);
  }

  start(): void {
    const { origin } = this.#connection;
    if (this.#connectTimeoutMs > 0) {
      origin.wheel.arm(this.#connectDeadline, this.#connectTimeoutMs);
    }
    if (origin.connectPath !== null) {
      this.#connect(origin.connectPath);
      return;
    }
    let synchronous = true;
    const failed = (error: OnehopError): void => {
      // Failing inside `open` would confuse the pool: it has not finished taking the slot.
      if (synchronous) queueMicrotask(() => this.fail(error));
      else this.fail(error);
    };
    origin.resolve((error, addresses) => {
      if (this.#over) return;
      if (error !== null) {
        failed(error);
        return;
      }
      try {
        this.#addresses = addresses;
        this.#resolved = true;
        this.#tryNext();
      } catch (thrown) {
        failed(this.#threw(thrown, 'a dial'));
      }
    });
    synchronous = false;
  }

  /** Reports it and returns the error to fail with. */
  #threw(thrown: unknown, where: string): OnehopError {
    this.#connection.origin.wheel.report(thrown, where);
    return new OnehopError('INTERNAL', `it threw in ${where}`, { cause: thrown });
  }

  onDeadlineThrew(_kind: number, error: unknown): void {
    this.failThrown(error, 'a deadline of a dial');
  }

  /** Something threw on the way to the connection. */
  failThrown(thrown: unknown, where: string): void {
    this.fail(this.#threw(thrown, where));
  }

  /** A socket of ours is open: true when it is the first and takes the connection. */
  won(socket: Socket<Connection>): boolean {
    if (this.#over) return false;
    const target = this.#targets[this.#sockets.indexOf(socket)]!;
    for (const other of this.#sockets) if (other !== socket) other.destroy();
    // Kept until `finish`: a proxy may have to be asked, and TLS to begin.
    this.#keep([socket], [target]);
    this.#won = true;
    this.#connection.address = target;
    this.#next = this.#addresses.length;
    const { wheel } = this.#connection.origin;
    wheel.disarm(this.#staggerDeadline);
    return true;
  }

  /** The connection is ready to use: the connect deadline has been met. */
  finish(): void {
    this.#over = true;
    this.#keep([], []);
    const { wheel } = this.#connection.origin;
    wheel.disarm(this.#connectDeadline);
    wheel.disarm(this.#staggerDeadline);
  }

  /** A socket of ours did not open. */
  lost(socket: Socket<Connection>, error: OnehopError | null): void {
    if (this.#over) return;
    const at = this.#sockets.indexOf(socket);
    if (at < 0) return;
    this.#sockets.splice(at, 1);
    this.#targets.splice(at, 1);
    this.#firstError ??= error;
    if (this.#next < this.#addresses.length) this.#tryNext();
    else if (this.#sockets.length === 0) {
      this.fail(this.#firstError ?? new OnehopError('CONNECT_FAILED', 'the connection closed'));
    }
  }

  /**
   * The addresses to reach it by have changed: attempts at others than `wanted` are given up, and
   * without one that is left it begins again with `addresses`. Its deadline goes on.
   */
  redirect(addresses: readonly string[], wanted: readonly string[]): void {
    // While the name is still being looked up, the answer is what `Origin.resolve` makes of it.
    if (this.#over || !this.#resolved) return;
    const sockets: Socket<Connection>[] = [];
    const targets: string[] = [];
    for (const [index, socket] of this.#sockets.entries()) {
      const target = this.#targets[index]!;
      if (!wanted.includes(target)) {
        socket.destroy();
        continue;
      }
      sockets.push(socket);
      targets.push(target);
    }
    if (this.#won && sockets.length > 0) return;
    this.#keep(sockets, targets);
    this.#addresses = addresses.filter((address) => !targets.includes(address));
    this.#next = 0;
    if (sockets.length > 0) {
      const { wheel } = this.#connection.origin;
      if (this.#addresses.length > 0) wheel.arm(this.#staggerDeadline, connectionAttemptDelayMs);
      return;
    }
    this.#won = false;
    this.#connection.startAgain();
    this.#tryNext();
  }

  #keep(sockets: readonly Socket<Connection>[], targets: readonly string[]): void {
    this.#sockets.length = 0;
    this.#targets.length = 0;
    this.#sockets.push(...sockets);
    this.#targets.push(...targets);
  }

  /** Nobody needs the connection any more. */
  cancel(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.finish();
  }

  onDeadline(kind: number): void {
    if (kind === STAGGER) {
      this.#tryNext();
      return;
    }
    this.fail(
      new OnehopError('CONNECT_TIMEOUT', `not connected within ${this.#connectTimeoutMs} ms`),
    );
  }

  #tryNext(): void {
    if (this.#over || this.#next >= this.#addresses.length) return;
    this.#connect(this.#addresses[this.#next++]!);
    if (this.#next < this.#addresses.length) {
      this.#connection.origin.wheel.arm(this.#staggerDeadline, connectionAttemptDelayMs);
    }
  }

  #connect(address: string): void {
    this.#targets.push(address);
    this.#sockets.push(this.#connection.origin.connectSocket(this.#connection, address));
  }

  /** No connection comes of it. */
  fail(cause: OnehopError): void {
    if (this.#over) return;
    const name = this.#connection.origin.name;
    this.cancel();
    this.#connection.dialFailed(
      new OnehopError(cause.code, `cannot connect to ${name}: ${cause.message}`, {
        phase: cause.phase ?? 'connect',
        upstream: name,
        cause,
      }),
    );
  }
}
