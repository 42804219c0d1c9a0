import { Client } from 'onehop';
import { checkStatus } from './failure.ts';
import type { Contestant } from './types.ts';

export const contestant: Contestant = {
  name: 'onehop',
  package: 'onehop',
  runtimes: ['node', 'bun'],
  modes: ['shared', 'per-request'],
  protocol: 'http/1.1',
  note: 'Client.get and response.json(); retries: 0, connectionsMax, pipelining 1, totalTimeoutMs',
  open({ baseUrl, connectionsMax, timeoutMs }) {
    const client = new Client({
      connectionsMax,
      pipelining: 1,
      retries: 0,
      redirects: 0,
      totalTimeoutMs: timeoutMs,
    });
    return {
      async getJson(path) {
        const response = await client.get(baseUrl + path);
        if (response.status < 200 || response.status > 299) {
          await response.bytes();
          checkStatus(response.status);
        }
        return response.json();
      },
      close: () => client.close(),
    };
  },
};
