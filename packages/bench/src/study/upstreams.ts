/** The upstreams of a study, started when first needed and kept for the whole run. */
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { type LaunchCommand, launchCommand } from '../api/index.ts';
import { pythonLaunchCommand } from '../contestants/index.ts';
import type { Runtime, UpstreamProtocol } from '../contestants/types.ts';
import type { Children, ServerProcess } from './children.ts';
import type { StudyOptions } from './options.ts';

export interface Upstream {
  server: ServerProcess;
  /** Base URL with trailing slash. */
  url: string;
  /** Where its counters are read and reset, over HTTP/1.1. */
  countersUrl: string;
  resetUrl: string;
}

/** The command line of the stand-in that answers fast: `onehop mock study`. */
function mockCommand(bun: string | null, latencyMs: number): LaunchCommand {
  const require = createRequire(import.meta.url);
  const onehop = join(dirname(require.resolve('onehop/package.json')), 'bin', 'onehop.js');
  const args = [onehop, 'mock', 'study', '--port', '0', '--latency', String(latencyMs)];
  return { command: bun ?? process.execPath, args, env: {} };
}

/** `hypercorn` stands for the study as it was: Python on both sides. */
type UpstreamKind = UpstreamProtocol | 'hypercorn';

export class Upstreams {
  readonly #children: Children;
  readonly #options: StudyOptions;
  readonly #bun: string | null;
  readonly #started = new Map<string, Promise<Upstream>>();

  constructor(children: Children, options: StudyOptions, bun: string | null) {
    this.#children = children;
    this.#options = options;
    this.#bun = bun;
  }

  /** The upstream for clients of that protocol; `runtime` is the clients'. */
  get(protocol: UpstreamProtocol, latencyMs: number, runtime: Runtime): Promise<Upstream> {
    const hypercorn =
      protocol === 'h2c' && runtime === 'python' && this.#options.upstream === 'study';
    const kind = hypercorn ? 'hypercorn' : protocol;
    const key = `${kind} ${latencyMs}`;
    let upstream = this.#started.get(key);
    if (upstream === undefined) {
      upstream = this.#start(kind, latencyMs);
      this.#started.set(key, upstream);
    }
    return upstream;
  }

  async #start(kind: UpstreamKind, latencyMs: number): Promise<Upstream> {
    const server = await this.#children.startServer({
      name: `the ${kind} upstream`,
      ...this.#command(kind, latencyMs),
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
    if (this.#options.upstream === 'fast') return mockCommand(this.#bun, latencyMs);
    return launchCommand({
      program: 'api',
      runtime: 'node',
      // Never asked: this instance only answers. The program wants one all the same.
      requestUrl: 'http://127.0.0.1:9/',
    });
  }
}
