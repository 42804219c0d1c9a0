import { Pool, request } from 'undici';
import { checkStatus } from '../failure.ts';
import type { ChatContestant } from '../types.ts';
import { chatBody, chatKey, chatPath, contentOf, deadlineOf } from './request.ts';

export const contestant: ChatContestant = {
  name: 'chat-undici',
  package: 'undici',
  runtimes: ['node'],
  modes: ['shared', 'per-request'],
  protocol: 'http/1.1',
  note: 'request() with dispatcher Pool({ connections, pipelining: 1 }); body.json(); the signal of all',
  open({ baseUrl, connectionsMax, timeoutMs }) {
    const dispatcher = new Pool(new URL(baseUrl).origin, {
      connections: connectionsMax,
      pipelining: 1,
    });
    const headers = { authorization: `Bearer ${chatKey}`, 'content-type': 'application/json' };
    return {
      async complete(prompt) {
        const { statusCode, body } = await request(baseUrl + chatPath, {
          dispatcher,
          method: 'POST',
          headers,
          body: JSON.stringify(chatBody(prompt)),
          signal: deadlineOf(timeoutMs),
        });
        if (statusCode < 200 || statusCode > 299) {
          await body.dump();
          checkStatus(statusCode);
        }
        return contentOf(await body.json());
      },
      close: () => dispatcher.close(),
    };
  },
};
