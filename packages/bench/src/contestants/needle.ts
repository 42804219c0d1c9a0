import { Agent } from 'node:http';
import needle from 'needle';
import { checkStatus } from './failure.ts';
import type { Contestant } from './types.ts';

export const contestant: Contestant = {
  name: 'needle',
  package: 'needle',
  runtimes: ['node', 'bun'],
  modes: ['shared', 'per-request'],
  protocol: 'http/1.1',
  note: "needle('get') with a keep-alive Agent; JSON.parse by hand, for its own parser swallows invalid JSON",
  open({ baseUrl, connectionsMax, timeoutMs }) {
    const agent = new Agent({ keepAlive: true, maxSockets: connectionsMax });
    const options = {
      agent,
      open_timeout: timeoutMs,
      response_timeout: timeoutMs,
      read_timeout: timeoutMs,
      follow_max: 0,
      parse_response: false,
      use_proxy_from_env_var: false,
    } as const;
    return {
      async getJson(path) {
        const response = await needle('get', baseUrl + path, options);
        checkStatus(response.statusCode ?? 0);
        return JSON.parse(String(response.body));
      },
      close: () => agent.destroy(),
    };
  },
};
