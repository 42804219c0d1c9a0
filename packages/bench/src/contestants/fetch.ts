import { openBuiltInAgent } from './built-in-agent.ts';
import { checkStatus } from './failure.ts';
import type { Contestant } from './types.ts';

export const contestant: Contestant = {
  name: 'fetch',
  package: null,
  runtimes: ['node'],
  modes: ['shared', 'per-request'],
  protocol: 'http/1.1',
  note: "Node's built-in fetch on an Agent of the same undici, limited in connections; redirect: 'manual'",
  open({ baseUrl, connectionsMax, timeoutMs }) {
    const dispatcher = openBuiltInAgent(connectionsMax);
    return {
      async getJson(path) {
        const signal = AbortSignal.timeout(timeoutMs);
        const options = { dispatcher, signal, redirect: 'manual' } as RequestInit;
        const response = await fetch(baseUrl + path, options);
        if (!response.ok) {
          await response.arrayBuffer();
          checkStatus(response.status);
        }
        return response.json();
      },
      close: () => dispatcher.close(),
    };
  },
};
