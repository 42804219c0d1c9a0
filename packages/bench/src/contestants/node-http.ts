import { Agent, get } from 'node:http';
import { checkStatus } from './failure.ts';
import type { Contestant } from './types.ts';

export const contestant: Contestant = {
  name: 'node-http',
  package: null,
  runtimes: ['node', 'bun'],
  modes: ['shared', 'per-request'],
  protocol: 'http/1.1',
  note: 'http.get with Agent({ keepAlive: true, maxSockets }); body gathered as chunks, JSON.parse',
  open({ baseUrl, connectionsMax, timeoutMs }) {
    const agent = new Agent({ keepAlive: true, maxSockets: connectionsMax });
    return {
      getJson(path) {
        return new Promise((resolve, reject) => {
          const signal = AbortSignal.timeout(timeoutMs);
          const request = get(baseUrl + path, { agent, signal }, (response) => {
            const chunks: Buffer[] = [];
            response.on('data', (chunk: Buffer) => chunks.push(chunk));
            response.on('error', reject);
            response.on('end', () => {
              try {
                checkStatus(response.statusCode ?? 0);
                resolve(JSON.parse(Buffer.concat(chunks).toString()));
              } catch (error) {
                reject(error);
              }
            });
          });
          request.on('error', reject);
        });
      },
      close: () => agent.destroy(),
    };
  },
};
