import { OpenAI } from 'openai';
import { openFetchPool } from '../built-in-agent.ts';
import type { ChatContestant } from '../types.ts';
import { chatKey } from './request.ts';
import { completeWithSdk } from './sdk.ts';

export const contestant: ChatContestant = {
  name: 'openai',
  package: 'openai',
  runtimes: ['node', 'bun'],
  modes: ['shared', 'per-request'],
  protocol: 'http/1.1',
  note: "the SDK over the runtime's fetch; maxRetries: 0, redirect: 'manual', a pool limit (dispatcher on Node, BUN_CONFIG_MAX_HTTP_REQUESTS on Bun) and the signal of all, for its own timeout ends with the head",
  open({ baseUrl, connectionsMax, timeoutMs }) {
    const pool = openFetchPool(connectionsMax);
    const client = new OpenAI({
      baseURL: `${baseUrl}v1`,
      apiKey: chatKey,
      maxRetries: 0,
      fetchOptions: { redirect: 'manual', ...pool.init },
    });
    return {
      complete: (prompt) => completeWithSdk(client, prompt, timeoutMs),
      close: () => pool.close(),
    };
  },
};
