import { Agent } from 'node:http';
import superagent from 'superagent';
import type { Contestant } from './types.ts';

export const contestant: Contestant = {
  name: 'superagent',
  package: 'superagent',
  runtimes: ['node', 'bun'],
  modes: ['shared', 'per-request'],
  protocol: 'http/1.1',
  note: 'superagent.get with a keep-alive Agent, redirects(0), deadline as timeout',
  open({ baseUrl, connectionsMax, timeoutMs }) {
    const agent = new Agent({ keepAlive: true, maxSockets: connectionsMax });
    return {
      async getJson(path) {
        const response = await superagent
          .get(baseUrl + path)
          .agent(agent)
          .redirects(0)
          .timeout({ deadline: timeoutMs });
        return response.body;
      },
      close: () => agent.destroy(),
    };
  },
};
