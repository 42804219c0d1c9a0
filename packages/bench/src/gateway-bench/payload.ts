/** What the upstream of the bench answers and what is sent to it; the same bytes on both sides. */

/** A JSON object of exactly `size` bytes. */
export function paddedJson(size: number): string {
  const empty = '{"id":"8c1b2b3e","pad":""}';
  return `{"id":"8c1b2b3e","pad":"${'x'.repeat(size - empty.length)}"}`;
}

export const eventText =
  'data: {"id":"c-1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":" token"}}]}\n\n';

export const chatAnswer = JSON.stringify({
  id: 'chatcmpl-1',
  object: 'chat.completion',
  created: 1_700_000_000,
  model: 'm',
  choices: [{ index: 0, message: { role: 'assistant', content: 'pong' }, finish_reason: 'stop' }],
  usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 },
});

export const chatQuestion = JSON.stringify({
  model: 'm',
  messages: [{ role: 'user', content: 'ping' }],
});

/** A chat request whose prompt fills it to exactly `size` bytes. */
export function promptOf(size: number): Uint8Array {
  const [before, after] = ['{"model":"m","messages":[{"role":"user","content":"', '"}]}'];
  const filler = 'all work and no play makes a dull benchmark ';
  const length = size - before.length - after.length;
  const text = filler.repeat(Math.ceil(length / filler.length)).slice(0, length);
  return Buffer.from(before + text + after, 'latin1');
}
