import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { startOpenAiService } from './openai.ts';
import { startPlainService } from './plain.ts';
import type { Service } from './service.ts';

describe('plain service', () => {
  let service: Service;
  let base: string;
  before(async () => {
    service = await startPlainService({ sizeBytes: 20 });
    base = `http://127.0.0.1:${service.port}`;
  });
  after(() => service.close());

  test('size, status and both framings by query', async () => {
    for (const framing of ['length', 'chunked']) {
      for (const size of [0, 1, 50, 65_536, 300_001]) {
        const response = await fetch(`${base}/x?size=${size}&framing=${framing}&status=201`);
        assert.equal(response.status, 201);
        const length = response.headers.get('content-length');
        assert.equal(length, framing === 'length' ? `${size}` : null);
        const body = Buffer.from(await response.arrayBuffer());
        assert.equal(body.length, size);
        if (size > 65_600) assert.ok(body.subarray(65_536, 65_600).equals(body.subarray(0, 64)));
      }
    }
  });

  test('10 MB arrive whole', async () => {
    const body = await (await fetch(`${base}/?size=10000000`)).arrayBuffer();
    assert.equal(body.byteLength, 10_000_000);
  });

  test('latency by query, echo of a body, errors in one sentence', async () => {
    const startMs = performance.now();
    await (await fetch(`${base}/?latency=60`)).text();
    assert.ok(performance.now() - startMs >= 58);
    const sent = Buffer.alloc(200_000, 'é');
    const echoed = await fetch(`${base}/echo`, { method: 'PUT', body: sent });
    assert.ok(Buffer.from(await echoed.arrayBuffer()).equals(sent));
    for (const query of ['size=-1', 'size=x', 'status=99', 'framing=none', 'latency=soon']) {
      const response = await fetch(`${base}/?${query}`);
      assert.equal(response.status, 400, query);
      assert.match(((await response.json()) as { error: string }).error, /^".+" is no /);
    }
  });

  test('HEAD and 204 have no body', async () => {
    const head = await fetch(`${base}/?size=30`, { method: 'HEAD' });
    assert.equal(head.headers.get('content-length'), '30');
    assert.equal(await head.text(), '');
    assert.equal(await (await fetch(`${base}/?status=204`)).text(), '');
    assert.equal((await (await fetch(`${base}/?size=3`)).text()).length, 3);
  });
});

interface ChatChunk {
  id: string;
  object: string;
  choices: { delta: { role?: string; content?: string }; finish_reason: string | null }[];
  usage?: { completion_tokens: number } | null;
}

describe('openai service', () => {
  let service: Service;
  let base: string;
  before(async () => {
    service = await startOpenAiService({
      models: ['small', 'large'],
      apiKey: 'sk-test',
      tokens: 8,
      firstToken: { kind: 'fixed', ms: 40 },
      tokenGap: { kind: 'fixed', ms: 60 },
      seed: 3,
    });
    base = `http://127.0.0.1:${service.port}/v1`;
  });
  after(() => service.close());

  const post = (path: string, body: unknown, key = 'sk-test'): Promise<Response> =>
    fetch(`${base}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    });
  const messages = [{ role: 'user', content: 'Say something.' }];

  test('a chat answer takes as long as its tokens and counts them', async () => {
    const startMs = performance.now();
    const response = await post('/chat/completions', { model: 'small', messages, max_tokens: 4 });
    const body = (await response.json()) as {
      object: string;
      model: string;
      choices: { message: { role: string; content: string }; finish_reason: string }[];
      usage: { prompt_tokens: number; completion_tokens: number; total_tokens: number };
    };
    const elapsedMs = performance.now() - startMs;
    assert.ok(elapsedMs >= 40 + 3 * 60 - 2, `${elapsedMs}`);
    assert.equal(body.object, 'chat.completion');
    assert.equal(body.model, 'small');
    assert.equal(body.choices[0]!.message.role, 'assistant');
    assert.equal(body.choices[0]!.message.content.split(' ').length, 4);
    assert.equal(body.choices[0]!.finish_reason, 'length');
    assert.equal(body.usage.completion_tokens, 4);
    assert.equal(body.usage.total_tokens, body.usage.prompt_tokens + 4);
  });

  test('a stream has one event per token at the pace, usage on demand, then [DONE]', async () => {
    const startMs = performance.now();
    const response = await post('/chat/completions', {
      model: 'large',
      messages,
      stream: true,
      stream_options: { include_usage: true },
    });
    assert.match(response.headers.get('content-type')!, /^text\/event-stream/);
    const arrivalsMs: number[] = [];
    let text = '';
    const decoder = new TextDecoder();
    for await (const bytes of response.body as unknown as AsyncIterable<Uint8Array>) {
      arrivalsMs.push(performance.now() - startMs);
      text += decoder.decode(bytes, { stream: true });
    }
    const events = text.split('\n\n').filter((event) => event !== '');
    assert.equal(events.at(-1), 'data: [DONE]');
    const chunks = events.slice(0, -1).map((event) => JSON.parse(event.slice(6)) as ChatChunk);
    assert.equal(chunks.length, 8 + 2);
    assert.equal(chunks[0]!.choices[0]!.delta.role, 'assistant');
    assert.ok(chunks.every(({ object }) => object === 'chat.completion.chunk'));
    assert.equal(new Set(chunks.map(({ id }) => id)).size, 1);
    assert.equal(chunks[8]!.choices[0]!.finish_reason, 'stop');
    assert.deepEqual(chunks[9]!.choices, []);
    assert.equal(chunks[9]!.usage!.completion_tokens, 8);
    assert.ok(arrivalsMs[0]! >= 38, `${arrivalsMs[0]}`);
    assert.ok(arrivalsMs.length >= 4, 'the tokens came in lumps');
    assert.ok(arrivalsMs.at(-1)! >= 40 + 8 * 60 - 5, `${arrivalsMs.at(-1)}`);
  });

  test('completions, embeddings (numbers and base64) and models', async () => {
    const text = await post('/completions', { model: 'small', prompt: 'x', max_tokens: 2 });
    const completion = (await text.json()) as { object: string; choices: { text: string }[] };
    assert.equal(completion.object, 'text_completion');
    assert.equal(completion.choices[0]!.text.split(' ').length, 2);
    const streamed = await post('/completions', { model: 'small', prompt: 'x', stream: true });
    assert.match(await streamed.text(), /"text_completion"[\s\S]*data: \[DONE\]\n\n$/);
    for (const encoding_format of ['float', 'base64']) {
      const response = await post('/embeddings', {
        model: 'small',
        input: ['a', 'b'],
        dimensions: 4,
        encoding_format,
      });
      const { data } = (await response.json()) as { data: { embedding: number[] | string }[] };
      assert.equal(data.length, 2);
      const [{ embedding }] = data as [{ embedding: number[] | string }];
      const vector =
        typeof embedding === 'string'
          ? [...new Float32Array(new Uint8Array(Buffer.from(embedding, 'base64')).buffer)]
          : embedding;
      assert.equal(vector.length, 4);
      assert.ok(Math.abs(Math.hypot(...vector) - 1) < 1e-5);
    }
    const headers = { authorization: 'Bearer sk-test' };
    const models = (await (await fetch(`${base}/models`, { headers })).json()) as {
      data: { id: string }[];
    };
    assert.deepEqual(
      models.data.map(({ id }) => id),
      ['small', 'large'],
    );
    assert.equal((await fetch(`${base}/models/large`, { headers })).status, 200);
  });

  const wrong: [string, string, unknown, string, number, RegExp][] = [
    ['broken JSON', '/chat/completions', '{"model"', 'sk-test', 400, /could not parse/],
    ['no model', '/chat/completions', { messages }, 'sk-test', 400, /model parameter/],
    ['no messages', '/chat/completions', { model: 'small' }, 'sk-test', 400, /messages/],
    ['an unknown model', '/embeddings', { model: 'x', input: 'a' }, 'sk-test', 404, /not exist/],
    ['a wrong key', '/embeddings', { model: 'small', input: 'a' }, 'no', 401, /Incorrect API key/],
    ['an unknown path', '/nothing', {}, 'sk-test', 404, /Unknown request URL/],
    [
      'a silly limit',
      '/chat/completions',
      { model: 'small', messages, max_tokens: 0 },
      'sk-test',
      400,
      /max_tokens/,
    ],
  ];
  for (const [title, path, body, key, status, message] of wrong) {
    test(`${title} is ${status} in the dialect of OpenAI`, async () => {
      const response = await post(path, body, key);
      assert.equal(response.status, status);
      const { error } = (await response.json()) as {
        error: { message: string; type: string; param: string | null; code: string | null };
      };
      assert.match(error.message, message);
      assert.equal(error.type, 'invalid_request_error');
      assert.ok('param' in error && 'code' in error);
    });
  }

  test('the faults of the dialect: 429 with its waiting times, an error event in a stream', async () => {
    const headers = { authorization: 'Bearer sk-test', 'x-mock-fault': 'status:429' };
    const limited = await fetch(`${base}/models`, { headers });
    assert.equal(limited.status, 429);
    assert.equal(limited.headers.get('retry-after-ms'), '50');
    const broken = await post('/chat/completions?fault=error-event', {
      model: 'small',
      messages,
      stream: true,
    });
    assert.equal(broken.status, 200);
    const text = await broken.text();
    assert.match(text, /data: \{"error":\{"message":"The mock broke off\."[^\n]*\n\n$/);
    assert.ok(!text.includes('[DONE]'));
  });
});
