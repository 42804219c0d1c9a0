/** The callback core under our client. */
import { type Exchange, type ExchangeHandler, noFields, Origin } from 'onehop/client';
import {
  type Answer,
  type ContenderOptions,
  driveCallbacks,
  faultOf,
  type Open,
} from './client-drive.ts';

interface CoreCall extends Answer {
  readonly options: ContenderOptions;
  readonly done: (error: unknown) => void;
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
    call.done(faultOf(call, call.options));
  },
  onError(exchange, error) {
    (exchange.context as CoreCall).done(error);
  },
};

function openCore(pipelining: number): Open {
  return (options) => {
    const { host, port, path, connectionsMax } = options;
    const origin = new Origin(
      { scheme: 'http', host, port },
      pipelining > 1 ? { connectionsMax: 4, pipelining } : { connectionsMax },
    );
    const request = { method: 'GET', target: path, fields: noFields, body: null } as const;
    const start = (done: (error: unknown) => void): void => {
      const call: CoreCall = { status: 0, bytes: 0, options, done };
      origin.dispatch(request, coreHandler, call);
    };
    return { drive: driveCallbacks(start), close: () => origin.destroy() };
  };
}

export const openCoreUnpipelined = openCore(1);
export const openCorePipelined = openCore(100);
