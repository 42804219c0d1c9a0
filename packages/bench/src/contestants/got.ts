import { Agent } from 'node:http';
import got from 'got';
import { checkStatus } from './failure.ts';
import type { Contestant } from './types.ts';

export const contestant: Contestant = {
  name: 'got',
  package: 'got',
  runtimes: ['node', 'bun'],
  modes: ['shared', 'per-request'],
  protocol: 'http/1.1',
  note: 'got.extend with a keep-alive Agent, retry limit 0 (default 2), followRedirect: false',
  open({ baseUrl, connectionsMax, timeoutMs }) {
    const agent = new Agent({ keepAlive: true, maxSockets: connectionsMax });
    const client = got.extend({
      agent: { http: agent },
      retry: { limit: 0 },
      followRedirect: false,
      timeout: { request: timeoutMs },
      responseType: 'json',
    });
    return {
      async getJson(path) {
        const response = await client(baseUrl + path);
        checkStatus(response.statusCode); // a 3xx that is not followed counts as fine in got
        return response.body;
      },
      close: () => agent.destroy(),
    };
  },
};
