import { openFetchPool } from '../built-in-agent.ts';
import { checkStatus } from '../failure.ts';
import type { ChatContestant } from '../types.ts';
import { chatBody, chatKey, chatPath, contentOf, deadlineOf } from './request.ts';

export const contestant: ChatContestant = {
  name: 'chat-fetch',
  package: null,
  runtimes: ['node', 'bun'],
  modes: ['shared', 'per-request'],
  protocol: 'http/1.1',
  note: "the runtime's fetch as the SDK uses it, without the SDK: what is between the two is the SDK's share",
  open({ baseUrl, connectionsMax, timeoutMs }) {
    const pool = openFetchPool(connectionsMax);
    const headers = { authorization: `Bearer ${chatKey}`, 'content-type': 'application/json' };
    return {
      async complete(prompt) {
        const response = await fetch(baseUrl + chatPath, {
          method: 'POST',
          headers,
          body: JSON.stringify(chatBody(prompt)),
          redirect: 'manual',
          signal: deadlineOf(timeoutMs),
          ...pool.init,
        });
        if (!response.ok) {
          await response.arrayBuffer();
          checkStatus(response.status);
        }
        return contentOf(await response.json());
      },
      close: () => pool.close(),
    };
  },
};
