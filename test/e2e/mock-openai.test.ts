/** The OpenAI-shaped stand-in against the official SDK. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type Service, startOpenAiService } from '@onehop/mock';
import OpenAI from 'openai';

let service: Service;
let client: OpenAI;

before(async () => {
  service = await startOpenAiService({
    models: ['tiny'],
    apiKey: 'sk-e2e',
    tokens: 6,
    tokenGap: { kind: 'fixed', ms: 5 },
  });
  const baseURL = `http://127.0.0.1:${service.port}/v1`;
  client = new OpenAI({ apiKey: 'sk-e2e', baseURL, maxRetries: 1 });
});
after(() => service.close());

const messages = [{ role: 'user' as const, content: 'hello' }];

test('chat, streamed and whole', async () => {
  const whole = await client.chat.completions.create({ model: 'tiny', messages });
  assert.equal(whole.choices[0]!.message.content!.split(' ').length, 6);
  const stream = await client.chat.completions.create({
    model: 'tiny',
    messages,
    stream: true,
    stream_options: { include_usage: true },
  });
  let text = '';
  let used = 0;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? '';
    used = chunk.usage?.completion_tokens ?? used;
  }
  assert.equal(text.split(' ').length, 6);
  assert.equal(used, 6);
});

test('embeddings (the SDK asks for base64) and models', async () => {
  const { data } = await client.embeddings.create({ model: 'tiny', input: 'x', dimensions: 8 });
  assert.equal(data[0]!.embedding.length, 8);
  assert.ok(Math.abs(Math.hypot(...data[0]!.embedding) - 1) < 1e-5);
  const names: string[] = [];
  for await (const model of client.models.list()) names.push(model.id);
  assert.deepEqual(names, ['tiny']);
});

test('errors arrive as the classes of the SDK, and it retries what it should', async () => {
  const wrong = client.chat.completions.create({ model: 'unknown', messages });
  await assert.rejects(wrong, OpenAI.NotFoundError);
  service.resetCounters();
  const headers = { 'x-mock-fault': 'status:429' };
  const limited = client.chat.completions.create({ model: 'tiny', messages }, { headers });
  await assert.rejects(limited, OpenAI.RateLimitError);
  assert.equal(service.counters().requestsComplete, 2, 'one try and one retry');
  const broken = await client.chat.completions.create(
    { model: 'tiny', messages, stream: true },
    { headers: { 'x-mock-fault': 'error-event' } },
  );
  await assert.rejects(async () => {
    for await (const _ of broken) {
    }
  }, OpenAI.APIError);
});

test('a stream that the SDK aborts is seen as an abort', async () => {
  service.resetCounters();
  const stream = await client.chat.completions.create({
    model: 'tiny',
    messages,
    stream: true,
    max_tokens: 500,
  });
  for await (const _ of stream) break;
  const deadlineMs = performance.now() + 15_000;
  while (service.counters().aborts === 0 && performance.now() < deadlineMs) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assert.equal(service.counters().aborts, 1);
  assert.equal(service.counters().abortsSeen[0]!.phase, 'response');
  assert.equal(service.counters().concurrency, 0);
});
