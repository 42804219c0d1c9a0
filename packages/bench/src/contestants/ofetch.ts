import { ofetch } from 'ofetch';
import { openBuiltInAgent } from './built-in-agent.ts';
import { checkStatus } from './failure.ts';
import type { Contestant } from './types.ts';

export const contestant: Contestant = {
  name: 'ofetch',
  package: 'ofetch',
  runtimes: ['node'],
  modes: ['shared', 'per-request'],
  protocol: 'http/1.1',
  note: 'ofetch.create on the built-in fetch with the same Agent as fetch, retry: 0 (default 1), JSON.parse (its own parser swallows invalid JSON)',
  open({ baseUrl, connectionsMax, timeoutMs }) {
    const dispatcher = openBuiltInAgent(connectionsMax);
    const client = ofetch.create({
      baseURL: baseUrl,
      dispatcher: dispatcher as never,
      retry: 0,
      redirect: 'manual',
      parseResponse: JSON.parse,
    });
    return {
      async getJson(path) {
        // Its own timeout ends with the head, so a stalled body would wait for ever.
        const response = await client.raw(path, { signal: AbortSignal.timeout(timeoutMs) });
        checkStatus(response.status);
        return response._data;
      },
      close: () => dispatcher.close(),
    };
  },
};
