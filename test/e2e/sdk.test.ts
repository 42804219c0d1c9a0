/** The official SDKs on our fetch, against stand-ins. Passing `fetch` without a cast is a part of it. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import Anthropic from '@anthropic-ai/sdk';
import { type Service, startOpenAiService } from '@onehop/mock';
import { generateText, streamText } from 'ai';
import { Client, createFetch, fetch } from 'onehop';
import OpenAI from 'openai';
import { type LlmServer, sendJson, startLlmServer } from '../support/llm-server.ts';

let mock: Service;
let slowMock: Service;
let server: LlmServer;

const completion = (content: string, more: object = {}): object => ({
  id: 'c',
  object: 'chat.completion',
  created: 1,
  model: 'm',
  choices: [
    {
      index: 0,
      message: { role: 'assistant', content, refusal: null, ...more },
      finish_reason: 'stop',
    },
  ],
  usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 },
});
const anthropicEvents = [
  [
    'message_start',
    {
      message: {
        id: 'm',
        type: 'message',
        role: 'assistant',
        model: 'm',
        content: [],
        stop_reason: null,
        stop_sequence: null,
        usage: { input_tokens: 1, output_tokens: 1 },
      },
    },
  ],
  ['content_block_start', { index: 0, content_block: { type: 'text', text: '' } }],
  ['content_block_delta', { index: 0, delta: { type: 'text_delta', text: 'one ' } }],
  ['content_block_delta', { index: 0, delta: { type: 'text_delta', text: 'two' } }],
  ['content_block_stop', { index: 0 }],
  [
    'message_delta',
    { delta: { stop_reason: 'end_turn', stop_sequence: null }, usage: { output_tokens: 2 } },
  ],
  ['message_stop', {}],
] as const;

before(async () => {
  mock = await startOpenAiService({ tokens: 12, seed: 1 });
  slowMock = await startOpenAiService({
    tokens: 500,
    tokenGap: { kind: 'fixed', ms: 20 },
    seed: 1,
  });
  server = await startLlmServer({
    '/busy/chat/completions': ({ earlier }, response) => {
      if (earlier < 2) {
        sendJson(response, 429, { error: { message: 'slow down' } }, { 'retry-after-ms': '10' });
      } else sendJson(response, 200, completion('at last'));
    },
    '/silent/chat/completions': () => {},
    '/tools/chat/completions': ({ body }, response) => {
      const call = { id: 't', type: 'function', function: { name: 'add', arguments: '{"a":1}' } };
      sendJson(response, 200, completion(String(body.length), { tool_calls: [call] }));
    },
    '/files/files': ({ headers, body }, response) =>
      sendJson(response, 200, {
        id: 'f',
        object: 'file',
        bytes: body.length,
        filename: `${headers['content-type']?.split(';')[0]} ${headers['content-length'] === String(body.length)} ${body.includes('filename="x.jsonl"') && body.includes('{"a":1}')}`,
      }),
    '/v1/messages': ({ body }, response) => {
      const { stream } = JSON.parse(body) as { stream?: boolean };
      if (stream !== true) {
        sendJson(response, 200, {
          id: 'm',
          type: 'message',
          role: 'assistant',
          model: 'm',
          content: [{ type: 'text', text: 'whole' }],
          stop_reason: 'end_turn',
          stop_sequence: null,
          usage: { input_tokens: 1, output_tokens: 1 },
        });
        return;
      }
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      for (const [event, data] of anthropicEvents) {
        response.write(`event: ${event}\ndata: ${JSON.stringify({ type: event, ...data })}\n\n`);
      }
      response.end();
    },
    '/overloaded/v1/messages': ({ earlier }, response) => {
      if (earlier === 0) {
        const error = { type: 'error', error: { type: 'overloaded_error', message: 'x' } };
        sendJson(response, 529, error, { 'retry-after-ms': '10' });
      } else
        sendJson(response, 401, {
          type: 'error',
          error: { type: 'authentication_error', message: 'no' },
        });
    },
  });
});
after(async () => {
  await Promise.all([mock.close(), slowMock.close(), server.close()]);
});

/** Checked by the compiler: ours can stand wherever the standard's is asked for. */
const standard: typeof globalThis.fetch = fetch;
const bound: typeof globalThis.fetch = createFetch(new Client());

test('fetch has the type of the built-in one', () => {
  assert.equal(standard, fetch);
  assert.equal(typeof bound, 'function');
});

const messages = [{ role: 'user' as const, content: 'hello' }];
const openai = (baseURL: string, options: object = {}): OpenAI =>
  new OpenAI({ apiKey: 'k', baseURL, fetch, ...options });
const urlOf = (service: Service): string => `http://127.0.0.1:${service.port}/v1`;

/** Waits until `check` holds, 20 s at most. */
async function until(check: () => boolean): Promise<boolean> {
  for (let i = 0; i < 2000 && !check(); i++) await new Promise((r) => setTimeout(r, 10));
  return check();
}

test('openai: a completion, and the response behind it', async () => {
  const sdk = openai(urlOf(mock));
  const { data, response } = await sdk.chat.completions
    .create({ model: 'm', messages })
    .withResponse();
  assert.equal(data.choices[0]?.message.content?.split(' ').length, 12);
  assert.equal(response.status, 200);
  assert.ok(response instanceof Response);
});

test('openai: a stream brings every chunk in order', async () => {
  const sdk = openai(urlOf(mock));
  const stream = await sdk.chat.completions.create({
    model: 'm',
    messages,
    stream: true,
    stream_options: { include_usage: true },
  });
  let text = '';
  let chunks = 0;
  let usage: unknown = null;
  for await (const chunk of stream) {
    chunks++;
    text += chunk.choices[0]?.delta.content ?? '';
    usage = chunk.usage ?? usage;
  }
  assert.equal(text.split(' ').length, 12);
  assert.equal(chunks, 14);
  assert.equal((usage as { completion_tokens: number }).completion_tokens, 12);
});

test('openai: 20 streams one after the other need at most 2 connections', async () => {
  const client = new Client();
  const sdk = openai(urlOf(mock), { fetch: createFetch(client) });
  const before = mock.counters().connectionsOpened;
  for (let i = 0; i < 20; i++) {
    const stream = await sdk.chat.completions.create({ model: 'm', messages, stream: true });
    for await (const _ of stream);
  }
  const opened = mock.counters().connectionsOpened - before;
  await client.close();
  assert.ok(opened >= 1 && opened <= 2, `${opened} connections`);
});

test('openai: leaving a stream early closes it at the server', async () => {
  const sdk = openai(urlOf(slowMock));
  slowMock.resetCounters();
  const stream = await sdk.chat.completions.create({ model: 'm', messages, stream: true });
  let chunks = 0;
  for await (const _ of stream) if (++chunks === 3) break;
  assert.ok(await until(() => slowMock.counters().aborts === 1), 'the server saw no abort');
  assert.equal(slowMock.counters().abortsSeen[0]?.phase, 'response');
});

test('openai: aborting by a signal closes the stream at the server', async () => {
  const sdk = openai(urlOf(slowMock));
  slowMock.resetCounters();
  const controller = new AbortController();
  const stream = await sdk.chat.completions.create(
    { model: 'm', messages, stream: true },
    { signal: controller.signal },
  );
  let chunks = 0;
  for await (const _ of stream) if (++chunks === 3) controller.abort();
  assert.ok(chunks < 100);
  assert.ok(await until(() => slowMock.counters().aborts === 1), 'the server saw no abort');
});

test('openai: 429 is retried by the SDK as the server asks', async () => {
  const sdk = openai(`${server.baseUrl}/busy`, { maxRetries: 2 });
  const answer = await sdk.chat.completions.create({ model: 'm', messages });
  assert.equal(answer.choices[0]?.message.content, 'at last');
  assert.equal(server.requests.filter(({ path }) => path.startsWith('/busy')).length, 3);
});

test('openai: an error status becomes its class of error', async () => {
  const sdk = openai(urlOf(mock), { maxRetries: 0 });
  await assert.rejects(
    sdk.chat.completions.create({ model: '', messages }),
    (error: unknown) => error instanceof OpenAI.BadRequestError && error.status === 400,
  );
});

test('openai: its timeout ends the request, here and at the server', async () => {
  const sdk = openai(`${server.baseUrl}/silent`, { maxRetries: 0, timeout: 1000 });
  const before = server.aborted();
  await assert.rejects(
    sdk.chat.completions.create({ model: 'm', messages }),
    (error: unknown) => error instanceof OpenAI.APIConnectionTimeoutError,
  );
  assert.ok(await until(() => server.aborted() === before + 1), 'the server saw no abort');
});

test('openai: a refused connection is a connection error with our code behind it', async () => {
  const gone = await startLlmServer({});
  await gone.close();
  await assert.rejects(openai(gone.baseUrl, { maxRetries: 0 }).models.list(), (error: unknown) => {
    assert.ok(error instanceof OpenAI.APIConnectionError);
    const cause = (error.cause as Error).cause as { code: string };
    return cause.code === 'CONNECT_REFUSED';
  });
});

test('openai: tool calls, and a prompt of 2 MB', async () => {
  const sdk = openai(`${server.baseUrl}/tools`);
  const content = 'x'.repeat(2_000_000);
  const answer = await sdk.chat.completions.create({
    model: 'm',
    messages: [{ role: 'user', content }],
    tools: [{ type: 'function', function: { name: 'add', parameters: { type: 'object' } } }],
  });
  const [choice] = answer.choices;
  assert.equal(choice?.message.tool_calls?.[0]?.type, 'function');
  assert.ok(Number(choice?.message.content) > 2_000_000);
});

test('openai: uploading a file', async () => {
  const sdk = openai(`${server.baseUrl}/files`);
  const file = new File(['{"a":1}'], 'x.jsonl');
  const stored = await sdk.files.create({ file, purpose: 'batch' });
  assert.equal(stored.filename, 'multipart/form-data true true');
});

test('openai: embeddings', async () => {
  const { data } = await openai(urlOf(mock)).embeddings.create({ model: 'm', input: ['a', 'b'] });
  assert.equal(data.length, 2);
  assert.equal(data[0]?.embedding.length, 16);
});

test('ai: text, whole and streamed', async () => {
  const provider = createOpenAICompatible({ name: 'mock', baseURL: urlOf(mock), fetch });
  const whole = await generateText({ model: provider('m'), prompt: 'hello' });
  assert.equal(whole.text.split(' ').length, 12);
  const streamed = streamText({ model: provider('m'), prompt: 'hello' });
  const pieces: string[] = [];
  for await (const piece of streamed.textStream) pieces.push(piece);
  assert.equal(pieces.join('').split(' ').length, 12);
  assert.ok(pieces.length > 1);
});

test('ai: aborting closes the stream at the server', async () => {
  const provider = createOpenAICompatible({ name: 'mock', baseURL: urlOf(slowMock), fetch });
  slowMock.resetCounters();
  const controller = new AbortController();
  const { textStream } = streamText({
    model: provider('m'),
    prompt: 'hello',
    abortSignal: controller.signal,
  });
  let pieces = 0;
  for await (const _ of textStream) if (++pieces === 2) controller.abort();
  assert.ok(await until(() => slowMock.counters().aborts === 1), 'the server saw no abort');
});

test('anthropic: a message, whole and streamed', async () => {
  const sdk = new Anthropic({ apiKey: 'k', baseURL: server.baseUrl, fetch });
  const request = { model: 'm', max_tokens: 10, messages };
  const message = await sdk.messages.create(request);
  assert.deepEqual(message.content[0], { type: 'text', text: 'whole' });
  const types: string[] = [];
  for await (const event of await sdk.messages.create({ ...request, stream: true })) {
    types.push(event.type);
  }
  assert.deepEqual(
    types,
    anthropicEvents.map(([type]) => type),
  );
  const final = await sdk.messages.stream(request).finalMessage();
  assert.deepEqual(final.content[0], { type: 'text', text: 'one two' });
});

test('anthropic: overload is retried, a wrong key is its error', async () => {
  const sdk = new Anthropic({ apiKey: 'k', baseURL: `${server.baseUrl}/overloaded`, fetch });
  await assert.rejects(
    sdk.messages.create({ model: 'm', max_tokens: 10, messages }),
    (error: unknown) => error instanceof Anthropic.AuthenticationError,
  );
});
