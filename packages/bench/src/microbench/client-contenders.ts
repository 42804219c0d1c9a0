/** The clients that `bench:client` compares: each gets one URL and reads the whole body. */
import * as http from 'node:http';
import { Client, fetch as ownFetch } from 'onehop';
import { type Exchange, type ExchangeHandler, noFields, Origin } from 'onehop/client';
import { Agent, type Dispatcher, Pool, request as undiciRequest } from 'undici';

/** One request: resolves with status and body length. */
export type RequestOnce = () => Promise<{ status: number; bytes: number }>;

export interface ContenderOptions {
  host: string;
  port: number;
  path: string;
  connectionsMax: number;
}

/** Runs `concurrency` chains of requests until `isOver`; returns how many were answered. */
export type Drive = (concurrency: number, isOver: () => boolean) => Promise<number>;

export interface Contender {
  name: string;
  runtimes: readonly ('node' | 'bun')[];
  open(options: ContenderOptions): { once: RequestOnce; drive?: Drive; close(): unknown };
}

async function chain(once: RequestOnce, isOver: () => boolean): Promise<number> {
  let done = 0;
  while (!isOver()) {
    const { status } = await once();
    if (status !== 200) throw new Error(`status ${status}`);
    done++;
  }
  return done;
}

/** Drives a promise-shaped client. */
export async function drivePromises(
  once: RequestOnce,
  concurrency: number,
  isOver: () => boolean,
): Promise<number> {
  const chains = Array.from({ length: concurrency }, () => chain(once, isOver));
  return (await Promise.all(chains)).reduce((sum, count) => sum + count, 0);
}

/** Drives a callback-shaped client: `start` sends one request and calls back at its end. */
function driveCallbacks(start: (done: (error: unknown) => void) => void): Drive {
  return (concurrency, isOver) =>
    new Promise((resolve, reject) => {
      let answered = 0;
      let running = concurrency;
      const next = (error: unknown): void => {
        if (error) {
          reject(error);
          return;
        }
        answered++;
        if (isOver()) {
          if (--running === 0) resolve(answered);
        } else start(next);
      };
      for (let i = 0; i < concurrency; i++) start(next);
    });
}

const onehopClient: Contender = {
  name: 'onehop-client',
  runtimes: ['node', 'bun'],
  open({ host, port, path, connectionsMax }) {
    const client = new Client({ connectionsMax });
    const url = `http://${host}:${port}${path}`;
    return {
      once: async () => {
        const response = await client.get(url);
        const body = await response.bytes();
        return { status: response.status, bytes: body.length };
      },
      close: () => client.destroy(),
    };
  },
};

interface CoreCall {
  status: number;
  bytes: number;
  done: (error: unknown) => void;
}

const coreHandler: ExchangeHandler = {
  onHead(exchange, head) {
    (exchange.context as CoreCall).status = head.status;
  },
  onBody(exchange, _bytes, start, end) {
    (exchange.context as CoreCall).bytes += end - start;
  },
  onEnd(exchange: Exchange) {
    const call = exchange.context as CoreCall;
    call.done(call.status === 200 ? null : new Error(`status ${call.status}`));
  },
  onError(exchange, error) {
    (exchange.context as CoreCall).done(error);
  },
};

function coreContender(name: string, pipelining: number): Contender {
  return {
    name,
    runtimes: ['node', 'bun'],
    open({ host, port, path, connectionsMax }) {
      const origin = new Origin(
        { scheme: 'http', host, port },
        pipelining > 1 ? { connectionsMax: 4, pipelining } : { connectionsMax },
      );
      const request = { method: 'GET', target: path, fields: noFields, body: null } as const;
      const start = (done: (error: unknown) => void, call?: CoreCall): void => {
        origin.dispatch(request, coreHandler, call ?? { status: 0, bytes: 0, done });
      };
      return {
        once: () =>
          new Promise((resolve, reject) => {
            const call: CoreCall = {
              status: 0,
              bytes: 0,
              done: (error) =>
                error ? reject(error) : resolve({ status: call.status, bytes: call.bytes }),
            };
            start(call.done, call);
          }),
        drive: driveCallbacks(start),
        close: () => origin.destroy(),
      };
    },
  };
}

const undiciRequestContender: Contender = {
  name: 'undici-request',
  runtimes: ['node'],
  open({ host, port, path, connectionsMax }) {
    const dispatcher = new Agent({ connections: connectionsMax, pipelining: 1 });
    const url = `http://${host}:${port}${path}`;
    return {
      once: async () => {
        const { statusCode, body } = await undiciRequest(url, { dispatcher });
        return { status: statusCode, bytes: (await body.arrayBuffer()).byteLength };
      },
      close: () => dispatcher.destroy(),
    };
  },
};

/** One object per request, as undici asks for. */
class UndiciCall {
  status = 0;
  bytes = 0;
  readonly done: (error: unknown, call: UndiciCall) => void;
  constructor(done: (error: unknown, call: UndiciCall) => void) {
    this.done = done;
  }
  onRequestStart(): void {}
  onResponseStart(_controller: unknown, status: number): void {
    this.status = status;
  }
  onResponseData(_controller: unknown, chunk: Buffer): void {
    this.bytes += chunk.length;
  }
  onResponseEnd(): void {
    this.done(this.status === 200 ? null : new Error(`status ${this.status}`), this);
  }
  onResponseError(_controller: unknown, error: Error): void {
    this.done(error, this);
  }
}

const undiciDispatchContender: Contender = {
  name: 'undici-dispatch',
  runtimes: ['node'],
  open({ host, port, path, connectionsMax }) {
    const pool = new Pool(`http://${host}:${port}`, { connections: connectionsMax, pipelining: 1 });
    const options = { path, method: 'GET' } as const;
    const start = (done: (error: unknown, call: UndiciCall) => void): void => {
      pool.dispatch(options, new UndiciCall(done) as unknown as Dispatcher.DispatchHandler);
    };
    return {
      once: () =>
        new Promise((resolve, reject) => {
          start((error, call) =>
            error ? reject(error) : resolve({ status: call.status, bytes: call.bytes }),
          );
        }),
      drive: driveCallbacks(start),
      close: () => pool.destroy(),
    };
  },
};

const nodeHttp: Contender = {
  name: 'node-http',
  runtimes: ['node'],
  open({ host, port, path, connectionsMax }) {
    const agent = new http.Agent({
      keepAlive: true,
      maxSockets: connectionsMax,
      maxFreeSockets: connectionsMax,
    });
    const start = (done: (error: unknown, status?: number, bytes?: number) => void): void => {
      http
        .get({ host, port, path, agent }, (response) => {
          let bytes = 0;
          response.on('data', (chunk: Buffer) => {
            bytes += chunk.length;
          });
          response.on('end', () => done(null, response.statusCode, bytes));
        })
        .on('error', done);
    };
    return {
      once: () =>
        new Promise((resolve, reject) => {
          start((error, status, bytes) =>
            error ? reject(error) : resolve({ status: status!, bytes: bytes! }),
          );
        }),
      drive: driveCallbacks(start),
      close: () => agent.destroy(),
    };
  },
};

const builtinFetch: Contender = {
  name: 'builtin-fetch',
  runtimes: ['node', 'bun'],
  open({ host, port, path }) {
    const url = `http://${host}:${port}${path}`;
    return {
      once: async () => {
        const response = await fetch(url);
        return { status: response.status, bytes: (await response.arrayBuffer()).byteLength };
      },
      close() {},
    };
  },
};

const onehopFetch: Contender = {
  name: 'onehop-fetch',
  runtimes: ['node', 'bun'],
  open({ host, port, path }) {
    const url = `http://${host}:${port}${path}`;
    return {
      once: async () => {
        const response = await ownFetch(url);
        return { status: response.status, bytes: (await response.arrayBuffer()).byteLength };
      },
      close() {},
    };
  },
};

export const contenders: readonly Contender[] = [
  onehopClient,
  coreContender('onehop-core', 1),
  coreContender('onehop-core-pipelined', 100),
  onehopFetch,
  undiciRequestContender,
  undiciDispatchContender,
  nodeHttp,
  builtinFetch,
];
