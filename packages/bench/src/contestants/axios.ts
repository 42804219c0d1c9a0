import { Agent } from 'node:http';
import axios from 'axios';
import type { Contestant } from './types.ts';

export const contestant: Contestant = {
  name: 'axios',
  package: 'axios',
  runtimes: ['node', 'bun'],
  modes: ['shared', 'per-request'],
  protocol: 'http/1.1',
  note: 'axios.create with a keep-alive Agent, maxRedirects: 0 and strict JSON parsing (its default swallows invalid JSON)',
  open({ baseUrl, connectionsMax, timeoutMs }) {
    const httpAgent = new Agent({ keepAlive: true, maxSockets: connectionsMax });
    const client = axios.create({
      baseURL: baseUrl,
      adapter: 'http',
      httpAgent,
      timeout: timeoutMs,
      maxRedirects: 0,
      proxy: false,
      responseType: 'json',
      transitional: { silentJSONParsing: false },
    });
    return {
      async getJson(path) {
        return (await client.get(path)).data;
      },
      close: () => httpAgent.destroy(),
    };
  },
};
