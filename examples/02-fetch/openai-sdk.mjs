// An SDK on our connections: give it a fetch that is bound to a client with its own settings.
import { Client, createFetch } from 'onehop';
import OpenAI from 'openai';

const client = new Client({ connectionsMax: 64, headTimeoutMs: 120_000 });
const sdk = new OpenAI({
  apiKey: process.env.OPENAI_API_KEY ?? 'none',
  baseURL: `${process.env.UPSTREAM ?? 'http://127.0.0.1:8000'}/v1`,
  fetch: createFetch(client),
});

const stream = await sdk.chat.completions.create({
  model: 'mock',
  messages: [{ role: 'user', content: 'hello' }],
  stream: true,
});
let text = '';
for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? '';
console.log('words:', text.split(' ').length);

await client.close();
//> words: \d+
