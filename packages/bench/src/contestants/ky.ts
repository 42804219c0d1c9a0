import ky from 'ky';
import { openBuiltInAgent } from './built-in-agent.ts';
import { checkStatus } from './failure.ts';
import type { Contestant } from './types.ts';

export const contestant: Contestant = {
  name: 'ky',
  package: 'ky',
  runtimes: ['node'],
  modes: ['shared', 'per-request'],
  protocol: 'http/1.1',
  note: "ky.create on the built-in fetch with the same Agent as fetch, retry: 0 (default 2), redirect: 'manual'",
  open({ baseUrl, connectionsMax, timeoutMs }) {
    const dispatcher = openBuiltInAgent(connectionsMax);
    const options = {
      prefixUrl: baseUrl,
      retry: 0,
      redirect: 'manual',
      timeout: timeoutMs,
    } as const;
    // ky hands options that it does not know to fetch.
    const client = ky.create({ ...options, dispatcher } as typeof options);
    return {
      async getJson(path) {
        // Its own timeout ends with the head, so a stalled body would wait for ever.
        const response = await client.get(path, { signal: AbortSignal.timeout(timeoutMs) });
        checkStatus(response.status);
        return response.json();
      },
      close: () => dispatcher.close(),
    };
  },
};
