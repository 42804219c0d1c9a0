import { checkStatus } from './failure.ts';
import type { Contestant } from './types.ts';

export const contestant: Contestant = {
  name: 'bun-fetch',
  package: null,
  runtimes: ['bun'],
  modes: ['shared'],
  protocol: 'http/1.1',
  note: "Bun's fetch, redirect: 'manual'; pool limit by BUN_CONFIG_MAX_HTTP_REQUESTS; there is no client to build per request",
  open({ baseUrl, timeoutMs }) {
    return {
      async getJson(path) {
        const signal = AbortSignal.timeout(timeoutMs);
        const response = await fetch(baseUrl + path, { signal, redirect: 'manual' });
        if (!response.ok) {
          await response.arrayBuffer();
          checkStatus(response.status);
        }
        return response.json();
      },
      close() {},
    };
  },
};
