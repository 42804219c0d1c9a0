import { Client, createFetch } from 'onehop';
import { checkStatus } from './failure.ts';
import type { Contestant } from './types.ts';

export const contestant: Contestant = {
  name: 'onehop-fetch',
  package: 'onehop',
  runtimes: ['node', 'bun'],
  modes: ['shared', 'per-request'],
  protocol: 'http/1.1',
  note: "createFetch(client), redirect: 'manual'; retries: 0, connectionsMax, decompress: false, totalTimeoutMs instead of a signal",
  open({ baseUrl, connectionsMax, timeoutMs }) {
    const client = new Client({
      connectionsMax,
      pipelining: 1,
      retries: 0,
      decompress: false,
      totalTimeoutMs: timeoutMs,
    });
    const fetch = createFetch(client);
    return {
      async getJson(path) {
        const response = await fetch(baseUrl + path, { redirect: 'manual' });
        if (!response.ok) {
          await response.arrayBuffer();
          checkStatus(response.status);
        }
        return response.json();
      },
      close: () => client.close(),
    };
  },
};
