import { Pool, request } from 'undici';
import { checkStatus } from './failure.ts';
import type { Contestant } from './types.ts';

export const contestant: Contestant = {
  name: 'undici-request',
  package: 'undici',
  runtimes: ['node'],
  modes: ['shared', 'per-request'],
  protocol: 'http/1.1',
  note: 'request() with dispatcher Pool({ connections, pipelining: 1 }); body.json()',
  open({ baseUrl, connectionsMax, timeoutMs }) {
    const dispatcher = new Pool(new URL(baseUrl).origin, {
      connections: connectionsMax,
      pipelining: 1,
      headersTimeout: timeoutMs,
      bodyTimeout: timeoutMs,
    });
    return {
      async getJson(path) {
        const { statusCode, body } = await request(baseUrl + path, { dispatcher });
        if (statusCode < 200 || statusCode > 299) {
          await body.dump();
          checkStatus(statusCode);
        }
        return body.json();
      },
      close: () => dispatcher.close(),
    };
  },
};
