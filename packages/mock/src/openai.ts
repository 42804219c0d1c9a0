/**
 * A service shaped like OpenAI's: chat completions, completions, embeddings and models, streamed or
 * not, at a token pace. The text is nonsense; its shape, timing and errors are what matters.
 */
import { type LatencySpec, noLatency, sampleLatency } from './latency.ts';
import {
  jsonReply,
  type MockRequest,
  type Reply,
  type Service,
  ServiceHost,
  type ServiceOptions,
} from './service.ts';
import { type RandomSource, randomUuid } from './uuid.ts';

export interface OpenAiServiceOptions extends Omit<ServiceOptions, 'latency'> {
  /** Request to first token. Default none. */
  firstToken?: LatencySpec;
  /** Between tokens. Default none. */
  tokenGap?: LatencySpec;
  /** Tokens of an answer whose request does not limit them. Default 16. */
  tokens?: number;
  /** Names served; empty (the default): any. */
  models?: readonly string[];
  /** When set, requests need `Authorization: Bearer <key>`. */
  apiKey?: string;
}

const words =
  'the quick brown fox jumps over a lazy dog while seven gentle rivers carry small stones toward open sea'.split(
    ' ',
  );
const tokensMax = 100_000;
const dimensionsMax = 8192;

class RequestError extends Error {
  readonly status: number;
  readonly type: string;
  readonly param: string | null;
  readonly errorCode: string | null;

  constructor(
    status: number,
    message: string,
    param: string | null = null,
    errorCode: string | null = null,
    type = 'invalid_request_error',
  ) {
    super(message);
    this.status = status;
    this.type = type;
    this.param = param;
    this.errorCode = errorCode;
  }
}

/** The error body every OpenAI client understands. */
function errorReply(error: RequestError): Reply {
  const { status, message, type, param, errorCode } = error;
  const fields =
    status === 429 || status === 503 ? ['Retry-After', '1', 'retry-after-ms', '50'] : [];
  return jsonReply(status, { error: { message, type, param, code: errorCode } }, fields);
}

type Json = Record<string, unknown>;

function parseBody(request: MockRequest): Json {
  let value: unknown;
  try {
    value = JSON.parse(request.body.toString('utf8'));
  } catch {
    throw new RequestError(400, 'We could not parse the JSON body of your request.');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new RequestError(400, 'The body of the request must be a JSON object.');
  }
  return value as Json;
}

function wholeOr(value: unknown, param: string, max: number, otherwise: number): number {
  if (value === undefined || value === null) return otherwise;
  if (!Number.isInteger(value) || (value as number) < 1 || (value as number) > max) {
    throw new RequestError(400, `'${param}' must be a whole number from 1 to ${max}.`, param);
  }
  return value as number;
}

/** About four characters a token, as everybody estimates. */
function estimateTokens(value: unknown): number {
  const text = typeof value === 'string' ? value : JSON.stringify(value ?? '');
  return Math.max(1, Math.ceil(text.length / 4));
}

/** What one completion consists of, before it is put into one of the four shapes. */
interface Completion {
  readonly isChat: boolean;
  readonly id: string;
  readonly created: number;
  readonly model: string;
  readonly tokens: readonly string[];
  readonly finishReason: 'stop' | 'length';
  readonly usage: Json;
}

class OpenAi {
  private readonly options: OpenAiServiceOptions;

  constructor(options: OpenAiServiceOptions) {
    this.options = options;
  }

  answer(request: MockRequest, host: ServiceHost): Reply {
    try {
      return this.route(request, host.random);
    } catch (error) {
      if (error instanceof RequestError) return errorReply(error);
      throw error;
    }
  }

  private route(request: MockRequest, random: RandomSource): Reply {
    const { method, path, fault } = request;
    const { apiKey } = this.options;
    if (apiKey !== undefined && request.authorization !== `Bearer ${apiKey}`) {
      throw new RequestError(401, 'Incorrect API key provided.', null, 'invalid_api_key');
    }
    if (fault?.name === 'status') {
      const type = fault.value === 429 ? 'rate_limit_error' : 'server_error';
      throw new RequestError(fault.value, 'The mock was told to fail.', null, null, type);
    }
    if (path === '/v1/models' || path.startsWith('/v1/models/')) {
      this.expectMethod(method, 'GET');
      return this.models(path.slice('/v1/models/'.length));
    }
    switch (path) {
      case '/v1/chat/completions':
      case '/v1/completions':
        this.expectMethod(method, 'POST');
        return this.completion(request, path === '/v1/chat/completions', random);
      case '/v1/embeddings':
        this.expectMethod(method, 'POST');
        return this.embeddings(parseBody(request), random);
      default:
        throw new RequestError(404, `Unknown request URL: ${method} ${path}.`, null, 'unknown_url');
    }
  }

  private expectMethod(method: string, wanted: string): void {
    if (method !== wanted) {
      throw new RequestError(405, `Not allowed to ${method} here.`, null, 'method_not_supported');
    }
  }

  private modelOf(body: Json): string {
    const { model } = body;
    if (typeof model !== 'string' || model === '') {
      throw new RequestError(400, 'you must provide a model parameter', 'model');
    }
    const { models = [] } = this.options;
    if (models.length > 0 && !models.includes(model)) {
      throw new RequestError(
        404,
        `The model '${model}' does not exist.`,
        'model',
        'model_not_found',
      );
    }
    return model;
  }

  private models(id: string): Reply {
    const { models = [] } = this.options;
    const names = models.length > 0 ? models : ['mock'];
    const describe = (name: string): Json => ({
      id: name,
      object: 'model',
      created: 1_700_000_000,
      owned_by: 'onehop-mock',
    });
    if (id === '') return jsonReply(200, { object: 'list', data: names.map(describe) });
    const name = decodeURIComponent(id);
    this.modelOf({ model: name });
    return jsonReply(200, describe(name));
  }

  private completion(request: MockRequest, isChat: boolean, random: RandomSource): Reply {
    const body = parseBody(request);
    const model = this.modelOf(body);
    const prompt = isChat ? body['messages'] : body['prompt'];
    if (isChat && (!Array.isArray(prompt) || prompt.length === 0)) {
      throw new RequestError(400, "'messages' must be a list of at least one message.", 'messages');
    }
    const natural = this.options.tokens ?? 16;
    const limit = wholeOr(
      body['max_completion_tokens'] ?? body['max_tokens'],
      body['max_completion_tokens'] === undefined ? 'max_tokens' : 'max_completion_tokens',
      tokensMax,
      natural,
    );
    const tokens = Array.from({ length: limit }, (_, i) => {
      const word = words[(random.nextInt() >>> 0) % words.length]!;
      return i === 0 ? word : ` ${word}`;
    });
    const promptTokens = estimateTokens(prompt);
    const completion: Completion = {
      isChat,
      id: `${isChat ? 'chatcmpl' : 'cmpl'}-${randomUuid(random).replaceAll('-', '')}`,
      created: Math.floor(Date.now() / 1000),
      model,
      tokens,
      finishReason: limit < natural ? 'length' : 'stop',
      usage: {
        prompt_tokens: promptTokens,
        completion_tokens: limit,
        total_tokens: promptTokens + limit,
      },
    };
    if (body['stream'] === true || request.fault?.name === 'error-event') {
      const options = body['stream_options'] as Json | undefined;
      return this.stream(completion, options?.['include_usage'] === true, request);
    }
    return this.whole(completion, random);
  }

  private whole(completion: Completion, random: RandomSource): Reply {
    const { isChat, id, created, model, tokens, finishReason, usage } = completion;
    const text = tokens.join('');
    const choice = isChat
      ? { index: 0, message: { role: 'assistant', content: text, refusal: null } }
      : { index: 0, text };
    const value = {
      id,
      object: isChat ? 'chat.completion' : 'text_completion',
      created,
      model,
      choices: [{ ...choice, logprobs: null, finish_reason: finishReason }],
      usage,
    };
    // The answer is ready when the last token would have been.
    const { firstToken = noLatency, tokenGap = noLatency } = this.options;
    let ms = sampleLatency(firstToken, random);
    for (let i = 1; i < tokens.length; i++) ms += sampleLatency(tokenGap, random);
    return { ...jsonReply(200, value), latency: { kind: 'fixed', ms } };
  }

  private stream(completion: Completion, includeUsage: boolean, request: MockRequest): Reply {
    const { isChat, id, created, model, tokens, finishReason, usage } = completion;
    const shell = {
      id,
      object: isChat ? 'chat.completion.chunk' : 'text_completion',
      created,
      model,
    };
    const event = (choices: readonly Json[], counted: Json | null): string => {
      const tail = includeUsage ? { usage: counted } : {};
      return `data: ${JSON.stringify({ ...shell, choices, ...tail })}\n\n`;
    };
    const choice = (text: string | null, reason: string | null, isFirst: boolean): Json[] => {
      const role = isFirst ? { role: 'assistant' } : {};
      const part = isChat
        ? { delta: text === null ? {} : { ...role, content: text } }
        : { text: text ?? '' };
      return [{ index: 0, ...part, logprobs: null, finish_reason: reason }];
    };
    const parts = tokens.map((token, i) => event(choice(token, null, i === 0), null));
    if (request.fault?.name === 'error-event') {
      parts.length = Math.max(1, parts.length >> 1);
      const error = {
        message: 'The mock broke off.',
        type: 'server_error',
        param: null,
        code: null,
      };
      parts.push(`data: ${JSON.stringify({ error })}\n\n`);
    } else {
      // The end, the usage and [DONE] belong together: they cost no further token.
      let last = event(choice(null, finishReason, false), null);
      if (includeUsage) last += event([], usage);
      parts.push(`${last}data: [DONE]\n\n`);
    }
    return {
      status: 200,
      fields: ['Content-Type', 'text/event-stream; charset=utf-8', 'Cache-Control', 'no-cache'],
      parts: parts.map((text) => Buffer.from(text)),
      chunked: true,
      latency: this.options.firstToken ?? noLatency,
      gap: this.options.tokenGap ?? noLatency,
    };
  }

  private embeddings(body: Json, random: RandomSource): Reply {
    const model = this.modelOf(body);
    const { input } = body;
    const inputs = Array.isArray(input) && typeof input[0] !== 'number' ? input : [input];
    if (input === undefined || input === null || inputs.length === 0) {
      throw new RequestError(400, "'input' must be a text or a list of texts.", 'input');
    }
    const dimensions = wholeOr(body['dimensions'], 'dimensions', dimensionsMax, 16);
    const base64 = body['encoding_format'] === 'base64';
    const data = inputs.map((_, index) => {
      const vector = Float32Array.from({ length: dimensions }, () => random.nextUnit() * 2 - 1);
      const norm = Math.hypot(...vector);
      for (let i = 0; i < vector.length; i++) vector[i]! /= norm;
      const embedding = base64 ? Buffer.from(vector.buffer).toString('base64') : [...vector];
      return { object: 'embedding', index, embedding };
    });
    const promptTokens = inputs.reduce<number>((sum, one) => sum + estimateTokens(one), 0);
    const usage = { prompt_tokens: promptTokens, total_tokens: promptTokens };
    return {
      ...jsonReply(200, { object: 'list', data, model, usage }),
      latency: this.options.firstToken ?? noLatency,
    };
  }
}

/** Starts an OpenAI-shaped service. Rejects with ADDRESS_IN_USE or LISTEN_FAILED. */
export function startOpenAiService(options: OpenAiServiceOptions = {}): Promise<Service> {
  const service = new OpenAi(options);
  return new ServiceHost(options, (request, host) => service.answer(request, host)).listen();
}
