import { Pool } from 'undici';
import { checkStatus } from './failure.ts';
import type { Contestant } from './types.ts';

export const contestant: Contestant = {
  name: 'undici-dispatch',
  package: 'undici',
  runtimes: ['node'],
  modes: ['shared', 'per-request'],
  protocol: 'http/1.1',
  note: 'Pool.dispatch with callbacks, the cheapest call of undici; Pool as for undici-request',
  open({ baseUrl, connectionsMax, timeoutMs }) {
    const { origin, pathname } = new URL(baseUrl);
    const dispatcher = new Pool(origin, {
      connections: connectionsMax,
      pipelining: 1,
      headersTimeout: timeoutMs,
      bodyTimeout: timeoutMs,
    });
    return {
      getJson(path) {
        return new Promise((resolve, reject) => {
          const chunks: Buffer[] = [];
          let status = 0;
          dispatcher.dispatch(
            { origin, path: pathname + path, method: 'GET' },
            {
              onRequestStart() {},
              onResponseStart(_controller, statusCode) {
                status = statusCode;
              },
              onResponseData(_controller, chunk) {
                chunks.push(chunk);
              },
              onResponseEnd() {
                try {
                  checkStatus(status);
                  resolve(JSON.parse(Buffer.concat(chunks).toString()));
                } catch (error) {
                  reject(error);
                }
              },
              onResponseError: (_controller, error) => reject(error),
            },
          );
        });
      },
      close: () => dispatcher.close(),
    };
  },
};
