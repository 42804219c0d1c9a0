/**
 * The admin listener: /health, /ready, /metrics, /status. It has a port of its own, so that nothing
 * of it can be reached through a route, and answers no browser that was led here by a foreign page.
 */
import { reportFault } from '../core/index.ts';
import { FieldBlock, TargetForm } from '../http1/index.ts';
import { createServer, type Exchange, type Server } from '../server/index.ts';
import type { Listener, Transport } from '../transport/index.ts';
import type { ListenAddress } from './config/address.ts';

/** Where the answers come from: one gateway, or a supervisor that asks its workers. */
export interface AdminSources {
  isReady(): boolean | Promise<boolean>;
  /** Prometheus text. */
  metrics(): string | Promise<string>;
  status(): object | Promise<object>;
}

const connectionsMax = 64;

const text = (type: string): FieldBlock =>
  new FieldBlock([
    'Content-Type',
    type,
    'Cache-Control',
    'no-store',
    'X-Content-Type-Options',
    'nosniff',
  ]);
const PLAIN = text('text/plain; charset=utf-8');
const JSON_TYPE = text('application/json');
const PROMETHEUS = text('text/plain; version=0.0.4; charset=utf-8');
const NOT_ALLOWED = new FieldBlock(['Allow', 'GET, HEAD', 'Content-Type', 'text/plain']);

/**
 * A name that a foreign site may have pointed at us (DNS rebinding) is refused: an address and
 * `localhost` cannot be rebound, and inside clusters names have no dots or end in well-known ways.
 */
function isSafeHost(authority: string, allowed: ReadonlySet<string>): boolean {
  if (authority === '') return true;
  const host = authority
    .toLowerCase()
    .replace(/:\d*$/, '')
    .replace(/^\[|\]$/g, '');
  return (
    allowed.has(host) ||
    host === 'localhost' ||
    host.endsWith('.localhost') ||
    /^\d{1,3}(\.\d{1,3}){3}$/.test(host) ||
    /^[0-9a-f:.]*:[0-9a-f:.]*$/.test(host) ||
    /^[a-z0-9_-]+$/.test(host) ||
    /\.(svc|svc\.cluster\.local|internal|local)$/.test(host)
  );
}

export class AdminServer {
  readonly #server: Server;
  readonly #sources: AdminSources;
  readonly #hosts: ReadonlySet<string>;
  listener: Listener | null = null;

  constructor(sources: AdminSources, options: { transport?: Transport; hosts?: string[] } = {}) {
    this.#sources = sources;
    this.#hosts = new Set(options.hosts ?? []);
    this.#server = createServer({
      ...(options.transport === undefined ? {} : { transport: options.transport }),
      handler: {
        onRequest: (exchange) => this.#answer(exchange),
        onError: (error) => reportFault(error, 'the admin listener'),
      },
      limits: { connectionsMax, connectionsPerAddressMax: connectionsMax, bodyBytesMax: 0 },
    });
  }

  /** Rejects with ADDRESS_IN_USE or LISTEN_FAILED. */
  async listen({ host, port, path }: ListenAddress): Promise<Listener> {
    this.listener = await this.#server.listen(path === null ? { host, port } : { path });
    return this.listener;
  }

  close(): Promise<void> {
    return this.#server.close({ drainMs: 1000 });
  }

  #answer(exchange: Exchange<unknown>): void {
    const head = exchange.request;
    if (head.targetForm !== TargetForm.Origin) {
      exchange.respond(400, PLAIN, 'bad request\n');
      return;
    }
    // A browser names the page that asks; nobody else sends Origin or Sec-Fetch-Site.
    const site = head.get('sec-fetch-site');
    const foreign = site !== null && site !== 'none' && site !== 'same-origin';
    if (head.get('origin') !== null || foreign || !isSafeHost(head.authority, this.#hosts)) {
      exchange.respond(403, PLAIN, 'not from a browser page or under this host name\n');
      return;
    }
    if (head.method !== 'GET' && head.method !== 'HEAD') {
      exchange.respond(405, NOT_ALLOWED, 'only GET\n');
      return;
    }
    const query = head.path.indexOf('?');
    switch (query === -1 ? head.path : head.path.slice(0, query)) {
      case '/health':
        exchange.respond(200, PLAIN, 'ok\n');
        return;
      case '/ready':
        void this.#answerReady(exchange);
        return;
      case '/metrics':
        void this.#later(exchange, PROMETHEUS, () => this.#sources.metrics());
        return;
      case '/status':
        void this.#later(exchange, JSON_TYPE, () => this.#statusText());
        return;
      default:
        exchange.respond(404, PLAIN, 'there are /health, /ready, /metrics and /status\n');
    }
  }

  async #answerReady(exchange: Exchange<unknown>): Promise<void> {
    let ready = false;
    try {
      ready = await this.#sources.isReady();
    } catch (error) {
      reportFault(error, 'the readiness of the admin listener');
    }
    this.#respond(exchange, ready ? 200 : 503, PLAIN, ready ? 'ready\n' : 'not ready\n');
  }

  async #statusText(): Promise<string> {
    return `${JSON.stringify(await this.#sources.status(), null, 2)}\n`;
  }

  /** Does not reject: what the sources throw is a 500. */
  async #later(
    exchange: Exchange<unknown>,
    fields: FieldBlock,
    make: () => string | Promise<string>,
  ): Promise<void> {
    try {
      const body = make();
      // Not a turn later than need be: the scrape of one process is here already.
      const bytes = Buffer.from(typeof body === 'string' ? body : await body);
      this.#respond(exchange, 200, fields, bytes);
    } catch (error) {
      reportFault(error, 'the admin listener');
      this.#respond(exchange, 500, PLAIN, 'failed\n');
    }
  }

  #respond(
    exchange: Exchange<unknown>,
    status: number,
    fields: FieldBlock,
    body: string | Uint8Array,
  ): void {
    try {
      exchange.respond(status, fields, body);
    } catch (error) {
      reportFault(error, 'an answer of the admin listener');
      exchange.abort();
    }
  }
}
