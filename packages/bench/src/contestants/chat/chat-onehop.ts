import { Client } from 'onehop';
import { checkStatus } from '../failure.ts';
import type { ChatContestant } from '../types.ts';
import { chatBody, chatKey, chatPath, contentOf, deadlineOf } from './request.ts';

export const contestant: ChatContestant = {
  name: 'chat-onehop',
  package: 'onehop',
  runtimes: ['node', 'bun'],
  modes: ['shared', 'per-request'],
  protocol: 'http/1.1',
  note: 'Client.post with json and response.json(); retries: 0, connectionsMax, pipelining 1, the signal of all',
  open({ baseUrl, connectionsMax, timeoutMs }) {
    const client = new Client({ connectionsMax, pipelining: 1, retries: 0, redirects: 0 });
    const headers = { authorization: `Bearer ${chatKey}` };
    return {
      async complete(prompt) {
        const response = await client.post(baseUrl + chatPath, {
          headers,
          json: chatBody(prompt),
          signal: deadlineOf(timeoutMs),
        });
        if (response.status < 200 || response.status > 299) {
          await response.bytes();
          checkStatus(response.status);
        }
        return contentOf(await response.json());
      },
      close: () => client.close(),
    };
  },
};
