/** What every contestant of the chat case sends and how it reads the answer. */
import { UpstreamBodyError } from '../failure.ts';

/** What is asked, always the same. */
export const chatPrompt = 'Say something.';

/** Below the base URL. */
export const chatPath = 'v1/chat/completions';

export const chatMessages = (prompt: string) => [{ role: 'user' as const, content: prompt }];

/** Not streamed: what is compared is one request and one JSON answer, as in the study's own case. */
export const chatBody = (prompt: string) => ({ model: 'mock', messages: chatMessages(prompt) });

/** Some key must be sent; the stand-in takes any. */
export const chatKey = 'none';

/**
 * The deadline that every contestant hands to its client as a `signal`: for head and body together.
 * Clients differ in what limits of time they have, and what a signal costs would otherwise be in the
 * figures of some and not of others.
 */
export const deadlineOf = (timeoutMs: number): AbortSignal => AbortSignal.timeout(timeoutMs);

interface Completion {
  choices?: { message?: { content?: unknown } }[];
}

/** The text of a completion. @throws UpstreamBodyError when it is none */
export function contentOf(answer: unknown): string {
  const content = (answer as Completion | null)?.choices?.[0]?.message?.content;
  if (typeof content !== 'string') {
    throw new UpstreamBodyError('the body is no chat completion with a text');
  }
  return content;
}
