/**
 * The study's server: `GET /request_response/` answers, `GET /send_request/<client>/` forwards to
 * another instance's `/request_response/` with the named client. Run twice it is upstream and API.
 * `GET /send_chat/<client>/` asks an OpenAI-shaped upstream for a completion instead.
 */
import { randomUUID } from 'node:crypto';
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import type { ValidateFunction } from 'ajv';
import type { FastifyInstance, FastifyReply, onRouteHookHandler } from 'fastify';
import Fastify from 'fastify';
import {
  type ChatForwarder,
  chatPath,
  chatPrompt,
  describeFailure,
  type Forwarder,
  loadChatContestant,
  loadContestant,
  UpstreamBodyError,
} from '../contestants/index.ts';
import { createClientSet, ModeUnsupportedError } from './client-set.ts';
import type { ApiConfig } from './config.ts';
import { measureActions, startMeasureProbe } from './measure.ts';
import {
  compileModel,
  ErrorResponse,
  type JsonSchema,
  type Message,
  MessageResponse,
  SendResponse,
  UpstreamErrorResponse,
} from './models.ts';
import { UpstreamCounters } from './upstream-counters.ts';

const isMessage = compileModel<Message>(MessageResponse);

/**
 * Gives each route a hook that checks what a handler answers against the model of its status, as
 * FastAPI does with response models. Fastify alone only serialises by it.
 */
const validateResponses: onRouteHookHandler = (route) => {
  const models = route.schema?.response as Record<string, JsonSchema> | undefined;
  if (models === undefined) return;
  const validators = new Map<number, ValidateFunction>();
  for (const [status, model] of Object.entries(models)) {
    validators.set(Number(status), compileModel(model));
  }
  route.preSerialization = (_request, reply, payload, done) => {
    const validator = validators.get(reply.statusCode);
    if (validator === undefined || validator(payload)) done(null, payload);
    else done(new Error(`the response of status ${reply.statusCode} does not match its model`));
  };
};

async function addDocumentation(app: FastifyInstance): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'onehop study API',
        description: 'Forwards a request to an upstream with the HTTP client of your choice.',
        version: '1.0.0',
      },
    },
  });
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    // The page must work offline: no badge that asks an outside validator.
    uiConfig: { validatorUrl: null, docExpansion: 'list' },
    staticCSP: true,
  });
  app.get('/openapi.json', { schema: { hide: true } }, () => app.swagger());
}

/** A route that forwards with the client it names: one for each case of the study. */
interface ForwardRoute {
  path: string;
  summary: string;
  /** What is asked at the upstream. */
  upstream: string;
  clients: readonly string[];
  /** Has the client ask and resolves to the message. */
  forward(client: string): Promise<string>;
}

function addForwardRoute(app: FastifyInstance, route: ForwardRoute): void {
  const { upstream, clients } = route;
  app.get<{ Params: { client: string } }>(
    `${route.path}:client/`,
    {
      schema: {
        summary: route.summary,
        params: {
          type: 'object',
          required: ['client'],
          properties: { client: { type: 'string', description: `One of: ${clients.join(', ')}` } },
        },
        response: { 200: SendResponse, 404: ErrorResponse, 502: UpstreamErrorResponse },
      },
    },
    async (request, reply) => {
      const { client } = request.params;
      if (!clients.includes(client)) {
        const message = `unknown client "${client}"; known: ${clients.join(', ')}`;
        return reply.code(404).send({ error: { message, known: [...clients] } });
      }
      try {
        return { status: 1 as const, message: await route.forward(client) };
      } catch (error) {
        if (error instanceof ModeUnsupportedError) {
          return reply.code(404).send({ error: { message: error.message } });
        }
        return reply.code(502).send({ error: { upstream, client, ...describeFailure(error) } });
      }
    },
  );
}

async function askMessage(forwarder: Forwarder): Promise<string> {
  const answer = await forwarder.getJson('request_response/');
  if (!isMessage(answer)) throw new UpstreamBodyError('the body is not {"message": "<text>"}');
  return answer.message;
}

const askChat = (forwarder: ChatForwarder): Promise<string> => forwarder.complete(chatPrompt);

function addStudyRoutes(
  app: FastifyInstance,
  config: ApiConfig,
  counters: UpstreamCounters | null,
): void {
  const { requestUrl, reuse, connectionsMax, timeoutMs } = config;
  const options = { baseUrl: requestUrl, connectionsMax, timeoutMs };
  const clients = createClientSet<Forwarder>(reuse, options, loadContestant);
  const chatClients = createClientSet<ChatForwarder>(reuse, options, loadChatContestant);
  app.addHook('onClose', () => clients.close());
  app.addHook('onClose', () => chatClients.close());

  app.get(
    '/request_response/',
    { schema: { summary: 'Answer with a message', response: { 200: MessageResponse } } },
    (request) => {
      counters?.add(request.raw.socket);
      return { message: randomUUID() };
    },
  );
  addForwardRoute(app, {
    path: '/send_request/',
    summary: 'Forward to the upstream and answer with its message',
    upstream: `${requestUrl}request_response/`,
    clients: config.clients,
    forward: (client) => clients.use(client, askMessage),
  });
  addForwardRoute(app, {
    path: '/send_chat/',
    summary: 'Ask an OpenAI-shaped upstream for a completion and answer with its text',
    upstream: requestUrl + chatPath,
    clients: config.chatClients,
    forward: (client) => chatClients.use(client, askChat),
  });
}

function addMeasureRoutes(app: FastifyInstance, counters: UpstreamCounters): void {
  const probe = startMeasureProbe();
  app.addHook('onClose', () => probe.close());
  app.get('/_onehop/measure/', { schema: { hide: true } }, () => probe.read());
  for (const action of measureActions) {
    app.post(`/_onehop/measure/${action}/`, { schema: { hide: true } }, () => {
      probe[action]();
      return { [action]: true };
    });
  }
  app.get('/_onehop/upstream/', { schema: { hide: true } }, () => counters.read());
  app.post('/_onehop/upstream/reset/', { schema: { hide: true } }, () => {
    counters.reset();
    return { reset: true };
  });
}

/** Paths that exist with a trailing slash are redirected to it, as FastAPI does. */
function answerNotFound(url: string, reply: FastifyReply): FastifyReply {
  const [path = '/', query] = url.split('?', 2);
  if (/^\/(request_response|send_(request|chat)\/[^/]+)$/.test(path)) {
    return reply.redirect(`${path}/${query === undefined ? '' : `?${query}`}`, 307);
  }
  return reply.code(404).send({ error: { message: `no such path: ${path}` } });
}

/** Builds the server without listening. Clients are opened at their first request. */
export async function buildApi(config: ApiConfig): Promise<FastifyInstance> {
  // Keep-alive sockets must not hold up a stop.
  const app = Fastify({ forceCloseConnections: true });
  app.addHook('onRoute', validateResponses);
  app.setNotFoundHandler((request, reply) => answerNotFound(request.url, reply));
  app.setErrorHandler((error: Error & { statusCode?: number }, _request, reply) => {
    const status = error.statusCode ?? 500;
    return reply.code(status).send({ error: { message: error.message } });
  });
  await addDocumentation(app);
  const counters = config.measure ? new UpstreamCounters() : null;
  addStudyRoutes(app, config, counters);
  if (counters !== null) addMeasureRoutes(app, counters);
  return app;
}
