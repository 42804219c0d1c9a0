/** What the client contract is written with: recorded exchanges, and waiting on either kind of clock. */
import assert from 'node:assert/strict';
import {
  type DispatchRequest,
  type Exchange,
  type ExchangeHandler,
  noFields,
  Origin,
  type OriginOptions,
  type Tunnel,
} from 'onehop/client';
import type { OnehopError } from 'onehop/core';
import type { HeaderTable, ResponseHead } from 'onehop/http1';
import type { Transport } from 'onehop/transport';
import { SimClock } from 'onehop/transport/sim';
import { RawServer, type RawServerHooks, type Script } from '../support/raw-server.ts';

/** Everything that happened to one exchange, in order. */
export class Record {
  exchange!: Exchange;
  events: string[] = [];
  status = 0;
  headers: string[] = [];
  body = '';
  trailers: string[] = [];
  error: OnehopError | null = null;
  tunnel: Tunnel | null = null;
  tunnelled = '';
  onHead: ((record: Record) => void) | null = null;
  onBody: ((record: Record) => void) | null = null;
  onEnd: ((record: Record) => void) | null = null;
  onDrain: ((record: Record) => void) | null = null;

  get over(): boolean {
    return this.events.some((event) => LAST.includes(event));
  }
}

const LAST = ['end', 'error', 'upgrade'];

function of(exchange: Exchange): Record {
  const record = exchange.context as Record;
  record.exchange = exchange;
  // An exception here would be taken for the handler's fault: `close` looks at this again.
  if (record.over) record.events.push('late');
  assert.equal(record.over, false, `called after the end: ${record.events.join(' ')}`);
  return record;
}

const handler: ExchangeHandler = {
  onHead(exchange: Exchange, head: ResponseHead) {
    const record = of(exchange);
    assert.ok(!record.events.includes('head'), 'two heads');
    record.events.push('head');
    record.status = head.status;
    record.headers = head.rawPairs();
    record.onHead?.(record);
  },
  onInterim(exchange, head) {
    of(exchange).events.push(`interim ${head.status}`);
  },
  onBody(exchange, bytes, start, end) {
    const record = of(exchange);
    assert.ok(record.events.includes('head'), 'body before head');
    assert.ok(end > start, 'empty piece');
    if (record.events.at(-1) !== 'body') record.events.push('body');
    record.body += Buffer.from(bytes.subarray(start, end)).toString('latin1');
    record.onBody?.(record);
  },
  onTrailers(exchange, trailers: HeaderTable) {
    const record = of(exchange);
    record.events.push('trailers');
    record.trailers = trailers.rawPairs();
  },
  onEnd(exchange) {
    const record = of(exchange);
    record.events.push('end');
    record.onEnd?.(record);
  },
  onError(exchange, error) {
    const record = of(exchange);
    record.events.push('error');
    record.error = error;
  },
  onUpgrade(exchange, head, tunnel, bytes, start, end) {
    const record = of(exchange);
    record.events.push('upgrade');
    record.status = head.status;
    record.tunnel = tunnel;
    record.tunnelled += Buffer.from(bytes.subarray(start, end)).toString('latin1');
    tunnel.handler = {
      onData: (_tunnel, more) => {
        record.tunnelled += Buffer.from(more).toString('latin1');
      },
      onEnd: () => {},
      onClose: () => {},
    };
  },
  onDrain(exchange) {
    const record = of(exchange);
    record.onDrain?.(record);
  },
};

/** A scripted server and an origin that talks to it. */
export class ClientFixture {
  readonly transport: Transport;
  readonly server: RawServer;
  readonly records: Record[] = [];
  origin!: Origin;

  constructor(transport: Transport, hooks: RawServerHooks | Script) {
    this.transport = transport;
    this.server = new RawServer(hooks);
  }

  async open(options: OriginOptions = {}): Promise<void> {
    await this.server.listen(this.transport);
    this.origin = this.makeOrigin(options);
  }

  makeOrigin(options: OriginOptions = {}): Origin {
    return new Origin(
      { scheme: 'http', host: '127.0.0.1', port: this.server.port },
      // Virtual time stands still while setImmediate waits.
      {
        transport: this.transport,
        ...(this.isSim ? { defer: (callback) => queueMicrotask(callback) } : {}),
        ...options,
      },
    );
  }

  get isSim(): boolean {
    return this.transport.clock instanceof SimClock;
  }

  send(request: Partial<DispatchRequest> = {}, prepare?: (record: Record) => void): Record {
    const record = new Record();
    this.records.push(record);
    prepare?.(record);
    record.exchange = this.origin.dispatch(
      { method: 'GET', target: '/', fields: noFields, body: null, ...request },
      handler,
      record,
    );
    return record;
  }

  /** Sends and waits for the end. */
  async run(request: Partial<DispatchRequest> = {}): Promise<Record> {
    const record = this.send(request);
    await this.until(() => record.over);
    return record;
  }

  /** Waits on whatever clock the transport has; fails after 10 s of it. */
  async until(condition: () => boolean): Promise<void> {
    if (this.transport.clock instanceof SimClock) {
      await this.transport.clock.runAsync(condition);
      assert.ok(condition(), 'nothing more will happen');
      return;
    }
    const giveUpMs = performance.now() + 10_000;
    while (!condition()) {
      assert.ok(performance.now() < giveUpMs, 'waited in vain');
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }

  async pause(ms: number): Promise<void> {
    if (this.transport.clock instanceof SimClock) this.transport.clock.advance(ms);
    else await new Promise((resolve) => setTimeout(resolve, ms));
  }

  /** Ends everything and checks what must hold whatever happened. */
  async close(): Promise<void> {
    this.origin.destroy();
    for (const record of this.records) {
      const ends = record.events.filter((event) => LAST.includes(event));
      assert.ok(!record.events.includes('late'), `went on: ${record.events.join(' ')}`);
      assert.notEqual(record.error?.code, 'INTERNAL', String(record.error?.cause));
      assert.equal(ends.length, 1, `ended ${ends.length} times: ${record.events.join(' ')}`);
    }
    const { connections, active } = this.origin.stats();
    assert.equal(active, 0, 'exchanges leak');
    const tunnels = this.records.filter((record) => record.tunnel !== null);
    for (const { tunnel } of tunnels) tunnel!.destroy();
    if (tunnels.length === 0) {
      const slots = connections.idle + connections.busy + connections.opening;
      assert.equal(slots, 0, 'slots leak');
    }
    assert.equal(connections.waiting, 0, 'waiters leak');
    await this.until(() => this.server.openPeers === 0);
    await this.server.close();
  }
}
