import { Agent } from 'node:http';
import fetch from 'node-fetch';
import { checkStatus } from './failure.ts';
import type { Contestant } from './types.ts';

export const contestant: Contestant = {
  name: 'node-fetch',
  package: 'node-fetch',
  runtimes: ['node'],
  modes: ['shared', 'per-request'],
  protocol: 'http/1.1',
  note: "fetch of node-fetch with a keep-alive Agent (default: none), redirect: 'manual'",
  open({ baseUrl, connectionsMax, timeoutMs }) {
    const agent = new Agent({ keepAlive: true, maxSockets: connectionsMax });
    return {
      async getJson(path) {
        const signal = AbortSignal.timeout(timeoutMs);
        const response = await fetch(baseUrl + path, { agent, signal, redirect: 'manual' });
        if (!response.ok) {
          await response.arrayBuffer();
          checkStatus(response.status);
        }
        return response.json();
      },
      close: () => agent.destroy(),
    };
  },
};
