import { APIError, type OpenAI } from 'openai';
import { checkStatus } from '../failure.ts';
import { chatBody, contentOf, deadlineOf } from './request.ts';

/** One completion through the SDK, in at most `timeoutMs`. A status is told as by all others. */
export async function completeWithSdk(
  client: OpenAI,
  prompt: string,
  timeoutMs: number,
): Promise<string> {
  try {
    const signal = deadlineOf(timeoutMs);
    return contentOf(await client.chat.completions.create(chatBody(prompt), { signal }));
  } catch (error) {
    if (error instanceof APIError && error.status !== undefined) checkStatus(error.status);
    throw error;
  }
}
