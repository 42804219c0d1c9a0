import { Client, createFetch } from 'onehop';
import { OpenAI } from 'openai';
import type { ChatContestant } from '../types.ts';
import { chatKey } from './request.ts';
import { completeWithSdk } from './sdk.ts';

export const contestant: ChatContestant = {
  name: 'openai-onehop',
  package: 'openai',
  runtimes: ['node', 'bun'],
  modes: ['shared', 'per-request'],
  protocol: 'http/1.1',
  note: "the SDK with fetch: createFetch(client); maxRetries: 0, redirect: 'manual', retries: 0, connectionsMax, decompress: false, and the signal of all",
  open({ baseUrl, connectionsMax, timeoutMs }) {
    const client = new Client({ connectionsMax, pipelining: 1, retries: 0, decompress: false });
    const sdk = new OpenAI({
      baseURL: `${baseUrl}v1`,
      apiKey: chatKey,
      maxRetries: 0,
      fetch: createFetch(client),
      fetchOptions: { redirect: 'manual' },
    });
    return {
      complete: (prompt) => completeWithSdk(sdk, prompt, timeoutMs),
      close: () => client.close(),
    };
  },
};
