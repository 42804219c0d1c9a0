/** What the server contract needs from a transport: time that passes and a client that is just bytes. */
import type { OnehopError } from 'onehop/core';
import {
  createServer,
  type Exchange,
  type Server,
  type ServerHandler,
  type ServerOptions,
} from 'onehop/server';
import type { Listener, Socket, SocketHandlers, Transport } from 'onehop/transport';
import type { SimTransport } from 'onehop/transport/sim';

export interface Rig {
  readonly transport: Transport;
  /** Lets time pass until `done` holds; false when it does not within `timeoutMs`. */
  until(done: () => boolean, timeoutMs?: number): Promise<boolean>;
}

/** Real time. */
export function runtimeRig(transport: Transport): Rig {
  return {
    transport,
    async until(done, timeoutMs = 10_000) {
      const deadlineMs = performance.now() + timeoutMs;
      while (!done()) {
        if (performance.now() > deadlineMs) return false;
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      return true;
    },
  };
}

/** Virtual time. */
export function simRig(transport: SimTransport): Rig {
  const { clock } = transport;
  return {
    transport,
    async until(done, timeoutMs = 3000) {
      // The end of the wait is an event like any other, or one waiter would skip another's.
      let over = false;
      const timer = clock.setTimer(() => {
        over = true;
      }, timeoutMs);
      for (;;) {
        // Chains of promises a few links long get to run between events.
        for (let i = 0; i < 10; i++) await null;
        if (done()) break;
        if (over || !clock.step()) return done();
      }
      clock.clearTimer(timer);
      return true;
    },
  };
}

export class ByteClient {
  socket: Socket<ByteClient> | null = null;
  private parts: Buffer[] = [];
  receivedBytes = 0;
  open = false;
  ended = false;
  closed = false;
  error: OnehopError | null = null;
  private unsent: Buffer[] = [];
  private blocked = false;
  private ending = false;

  get text(): string {
    return this.bytes.toString('latin1');
  }

  get bytes(): Buffer {
    if (this.parts.length > 1) this.parts = [Buffer.concat(this.parts)];
    return this.parts[0] ?? Buffer.alloc(0);
  }

  send(bytes: string | Uint8Array): void {
    this.unsent.push(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : Buffer.from(bytes));
    this.flush();
  }

  /** Half-closes behind what was sent. */
  end(): void {
    this.ending = true;
    this.flush();
  }

  flush(): void {
    if (!this.open || this.blocked || this.closed) return;
    for (let part = this.unsent.shift(); part !== undefined; part = this.unsent.shift()) {
      if (this.socket!.write(part, 0, part.length) !== 0) {
        this.blocked = true;
        return;
      }
    }
    if (this.ending) this.socket!.end();
  }

  static readonly handlers: SocketHandlers<ByteClient> = {
    open(socket) {
      socket.state.open = true;
      socket.state.flush();
    },
    data(socket, bytes) {
      socket.state.parts.push(Buffer.from(bytes));
      socket.state.receivedBytes += bytes.length;
    },
    drain(socket) {
      socket.state.blocked = false;
      socket.state.flush();
    },
    end(socket) {
      socket.state.ended = true;
    },
    close(socket, error) {
      socket.state.closed = true;
      socket.state.ended = true;
      socket.state.error = error;
    },
  };
}

/** What happened to exchanges, in order, and how often each ended. */
export class Log {
  readonly events: string[] = [];
  finishes = 0;
  aborts = 0;
  readonly errors: unknown[] = [];
}

export type Act = (exchange: Exchange<unknown>) => void;

export class Fixture {
  readonly rig: Rig;
  readonly server: Server;
  readonly log = new Log();
  readonly clients: ByteClient[] = [];
  private listener: Listener | null = null;

  constructor(rig: Rig, handler: ServerHandler<unknown>, options: Partial<ServerOptions<unknown>>) {
    this.rig = rig;
    const { log } = this;
    this.server = createServer({
      ...options,
      transport: rig.transport,
      handler: {
        ...handler,
        onAbort(exchange, error) {
          log.aborts++;
          log.events.push(`abort ${error.code}`);
          handler.onAbort?.(exchange, error);
        },
        onFinish(exchange) {
          log.finishes++;
          log.events.push(`finish ${exchange.status}`);
          handler.onFinish?.(exchange);
        },
        onError(error) {
          log.errors.push(error);
        },
      },
    });
  }

  async listen(): Promise<void> {
    this.listener = await this.server.listen({ port: 0 });
  }

  connect(): ByteClient {
    const client = new ByteClient();
    const { host, port } = this.listener!;
    client.socket = this.rig.transport.connect({ host, port }, ByteClient.handlers, client);
    this.clients.push(client);
    return client;
  }

  /** Connects, sends and waits for the text or, without one, the server's end. */
  async talk(request: string | Uint8Array, until?: string): Promise<ByteClient> {
    const client = this.connect();
    client.send(request);
    const done = (): boolean =>
      client.ended || (until !== undefined && client.text.includes(until));
    if (!(await this.rig.until(done))) {
      throw new Error(`no ${until ?? 'end'} within 3 s; got ${JSON.stringify(client.text)}`);
    }
    return client;
  }

  async close(): Promise<void> {
    for (const client of this.clients) client.socket!.destroy();
    const closing = this.server.close({ drainMs: 0 });
    let closed = false;
    void closing.then(() => {
      closed = true;
    });
    if (!(await this.rig.until(() => closed))) throw new Error('the server does not close');
  }
}
