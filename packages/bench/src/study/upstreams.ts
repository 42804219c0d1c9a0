/** The upstreams of a study, started when first needed and kept for the whole run. */
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { type LaunchCommand, launchCommand } from '../api/index.ts';
import { pythonLaunchCommand } from '../contestants/index.ts';
import type { Runtime, StudyCase, UpstreamProtocol } from '../contestants/types.ts';
import type { Children, ServerProcess } from './children.ts';
import type { StudyOptions } from './options.ts';
import { launchedBy, type Pinning } from './pinning.ts';

export interface Upstream {
  server: ServerProcess;
  /** Base URL with trailing slash. */
  url: string;
  /** Where its counters are read and reset, over HTTP/1.1. */
  countersUrl: string;
  resetUrl: string;
}

/** The command line of the stand-in that answers fast: `onehop mock study`, or `openai` for chat. */
function mockCommand(bun: string | null, latencyMs: number, studyCase: StudyCase): LaunchCommand {
  const require = createRequire(import.meta.url);
  const onehop = join(dirname(require.resolve('onehop/package.json')), 'bin', 'onehop.js');
  const kind = studyCase === 'chat' ? ['openai', '--first-token'] : ['study', '--latency'];
  const args = [onehop, 'mock', ...kind, String(latencyMs), '--port', '0'];
  return { command: bun ?? process.execPath, args, env: {} };
}

/** `hypercorn` is the HTTP/2 upstream of the Python peers: Python on both sides, as the study was. */
type UpstreamKind = UpstreamProtocol | 'hypercorn';

export class Upstreams {
  readonly #children: Children;
  readonly #options: StudyOptions;
  readonly #bun: string | null;
  readonly #started = new Map<string, Promise<Upstream>>();
  readonly #onFallback: (sentence: string) => void;

  readonly #pinning: Pinning | null;

  /** @param onFallback hears, once, that an upstream is not the one it should be */
  constructor(
    children: Children,
    options: StudyOptions,
    bun: string | null,
    pinning: Pinning | null,
    onFallback: (sentence: string) => void,
  ) {
    this.#pinning = pinning;
    this.#onFallback = onFallback;
    this.#children = children;
    this.#options = options;
    this.#bun = bun;
  }

  /** The upstream for clients of that protocol; `runtime` is the clients'. */
  get(protocol: UpstreamProtocol, latencyMs: number, runtime: Runtime): Promise<Upstream> {
    const kind = protocol === 'h2c' && runtime === 'python' ? 'hypercorn' : protocol;
    const key = `${kind} ${latencyMs}`;
    let upstream = this.#started.get(key);
    if (upstream === undefined) {
      upstream =
        kind === 'hypercorn' ? this.#startHypercorn(latencyMs) : this.#start(kind, latencyMs);
      this.#started.set(key, upstream);
    }
    return upstream;
  }

  async #startHypercorn(latencyMs: number): Promise<Upstream> {
    try {
      return await this.#start('hypercorn', latencyMs);
    } catch (error) {
      const reason = (error as Error).message.replaceAll('\n', ' ').slice(0, 200);
      this.#onFallback(
        `HTTP/2 peers in Python ran against node:http2 instead of hypercorn: ${reason}`,
      );
      return this.get('h2c', latencyMs, 'node');
    }
  }

  async #start(kind: UpstreamKind, latencyMs: number): Promise<Upstream> {
    const server = await this.#children.startServer({
      name: `the ${kind} upstream`,
      ...launchedBy(this.#pinning?.rest, this.#command(kind, latencyMs)),
    });
    const url = `http://127.0.0.1:${server.port}/`;
    const control = `http://127.0.0.1:${server.controlPort ?? server.port}/_onehop/upstream/`;
    return { server, url, countersUrl: control, resetUrl: `${control}reset/` };
  }

  #command(kind: UpstreamKind, latencyMs: number): LaunchCommand {
    if (kind === 'hypercorn') return pythonLaunchCommand({ program: 'h2-upstream', latencyMs });
    if (kind === 'h2c') {
      return launchCommand({ program: 'h2-upstream', runtime: 'node', latencyMs });
    }
    if (this.#options.upstream === 'fast')
      return mockCommand(this.#bun, latencyMs, this.#options.case);
    return launchCommand({
      program: 'api',
      runtime: 'node',
      // Never asked: this instance only answers. The program wants one all the same.
      requestUrl: 'http://127.0.0.1:9/',
    });
  }
}
