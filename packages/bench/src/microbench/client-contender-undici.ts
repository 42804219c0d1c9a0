/** undici, by promises and by callbacks. */
import { Agent, type Dispatcher, Pool, request } from 'undici';
import {
  type Answer,
  type ContenderOptions,
  driveCallbacks,
  drivePromises,
  faultOf,
  type Open,
} from './client-drive.ts';

export const openRequest: Open = (options) => {
  const { host, port, path, connectionsMax } = options;
  const dispatcher = new Agent({ connections: connectionsMax, pipelining: 1 });
  const url = `http://${host}:${port}${path}`;
  const once = async (): Promise<Answer> => {
    const { statusCode, body } = await request(url, { dispatcher });
    return { status: statusCode, bytes: (await body.arrayBuffer()).byteLength };
  };
  return { drive: drivePromises(once, options), close: () => dispatcher.destroy() };
};

/** One object per request, as undici asks for. */
class UndiciCall implements Answer {
  status = 0;
  bytes = 0;
  readonly options: ContenderOptions;
  readonly done: (error: unknown) => void;
  constructor(options: ContenderOptions, done: (error: unknown) => void) {
    this.options = options;
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
    this.done(faultOf(this, this.options));
  }
  onResponseError(_controller: unknown, error: Error): void {
    this.done(error);
  }
}

export const openDispatch: Open = (options) => {
  const { host, port, path, connectionsMax } = options;
  const pool = new Pool(`http://${host}:${port}`, { connections: connectionsMax, pipelining: 1 });
  const request = { path, method: 'GET' } as const;
  const start = (done: (error: unknown) => void): void => {
    const call = new UndiciCall(options, done);
    pool.dispatch(request, call as unknown as Dispatcher.DispatchHandler);
  };
  return { drive: driveCallbacks(start), close: () => pool.destroy() };
};
