/**
 * Steady load through a gateway while its upstreams are killed and its configuration is reloaded: no
 * idempotent request may fail, and memory and connections must not grow.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { Agent, request } from 'node:http';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { type ChildGauges, GatewayChild } from './child.ts';

export interface SoakOptions {
  durationMs: number;
  callers: number;
  /** An upstream is killed, and the configuration reloaded, this often each. */
  disturbEveryMs: number;
  executable?: string;
}

export interface SoakResult {
  requests: number;
  /** GETs that did not get their 200, by reason. */
  failures: Map<string, number>;
  /** POSTs that failed, all of which were told so. */
  postFailures: number;
  posts: number;
  kills: number;
  reloads: number;
  /** Gauges over time, after the first tenth. */
  samples: ChildGauges[];
  after: ChildGauges;
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

class KillableUpstream {
  port = 0;
  #child: ChildProcess | null = null;

  async start(): Promise<void> {
    const script = fileURLToPath(new URL('./upstream-child.js', import.meta.url));
    const child = spawn(process.execPath, [script, `${this.port}`], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#child = child;
    this.port = await new Promise<number>((resolve) => {
      createInterface({ input: child.stdout! }).once('line', (line) => resolve(Number(line)));
    });
  }

  kill(): void {
    this.#child?.kill('SIGKILL');
  }
}

function configOf(ports: readonly number[], generation: number): object {
  return {
    listen: '127.0.0.1:0',
    upstreams: {
      up: {
        targets: ports.map((port) => `http://127.0.0.1:${port}`),
        balance: generation % 2 === 0 ? 'least-pending' : 'round-robin',
        limits: { poolIdle: 1000 },
      },
    },
    routes: [{ path: '/*', upstream: 'up' }],
  };
}

/** One exchange; the reason why it failed, or null. */
function exchange(agent: Agent, port: number, method: string): Promise<string | null> {
  return new Promise((resolve) => {
    const req = request(
      { agent, port, host: '127.0.0.1', method, path: '/?size=500', timeout: 10_000 },
      (res) => {
        let bytes = 0;
        res.on('data', (part: Buffer) => {
          bytes += part.length;
        });
        res.on('end', () =>
          resolve(
            res.statusCode === 200 && bytes === 500
              ? null
              : `${res.statusCode} ${res.headers['x-onehop-error']}`,
          ),
        );
        res.on('error', (error) => resolve(`response: ${error.message}`));
      },
    );
    req.on('timeout', () => req.destroy(new Error('no end')));
    req.on('error', (error) => resolve(`request: ${error.message}`));
    req.end(method === 'POST' ? 'body' : undefined);
  });
}

export async function runSoak(options: SoakOptions): Promise<SoakResult> {
  const upstreams = [new KillableUpstream(), new KillableUpstream(), new KillableUpstream()];
  await Promise.all(upstreams.map((upstream) => upstream.start()));
  const ports = upstreams.map(({ port }) => port);
  const gateway = await GatewayChild.start(configOf(ports, 0), options.executable);
  const agent = new Agent({ keepAlive: true, maxSockets: options.callers });
  const result: SoakResult = {
    requests: 0,
    failures: new Map(),
    postFailures: 0,
    posts: 0,
    kills: 0,
    reloads: 0,
    samples: [],
    after: null as never,
  };
  const startMs = performance.now();
  const left = (): number => options.durationMs - (performance.now() - startMs);
  const caller = async (index: number): Promise<void> => {
    const method = index % 4 === 3 ? 'POST' : 'GET';
    while (left() > 0) {
      const reason = await exchange(agent, gateway.port, method);
      result.requests++;
      if (method === 'POST') {
        result.posts++;
        if (reason !== null) result.postFailures++;
      } else if (reason !== null) {
        result.failures.set(reason, (result.failures.get(reason) ?? 0) + 1);
      }
      // A steady load, not a race for the processor.
      await pause(5);
    }
  };
  const disturb = async (): Promise<void> => {
    for (let round = 0; left() > options.disturbEveryMs; round++) {
      await pause(options.disturbEveryMs / 2);
      const victim = upstreams[round % upstreams.length]!;
      victim.kill();
      result.kills++;
      await pause(options.disturbEveryMs / 4);
      await victim.start();
      await pause(options.disturbEveryMs / 4);
      const gauges = await gateway.gauges(configOf(ports, round + 1));
      result.reloads++;
      if (left() < options.durationMs * 0.9) result.samples.push(gauges);
    }
  };
  try {
    await Promise.all([
      disturb(),
      ...Array.from({ length: options.callers }, (_, index) => caller(index)),
    ]);
    agent.destroy();
    await pause(2500); // idle connections retire after a second
    result.after = await gateway.gauges();
    return result;
  } finally {
    await gateway.stop();
    for (const upstream of upstreams) upstream.kill();
  }
}

export function describeSoak(result: SoakResult): string {
  const rss = result.samples.map(({ rssMb }) => rssMb.toFixed(0));
  const failures = [...result.failures].map(([reason, count]) => `${count} x ${reason}`);
  return [
    `${result.requests} requests over ${result.kills} kills and ${result.reloads} reloads; ` +
      `failed GETs: ${failures.length === 0 ? 'none' : failures.join(', ')}; ` +
      `failed POSTs, all told: ${result.postFailures} of ${result.posts}`,
    `  RSS in MB: ${rss.join(' ')}; after: ${result.after.rssMb.toFixed(0)}`,
    `  left: ${result.after.exchangesOpen} exchanges, ${result.after.pending} pending, ` +
      `${result.after.connectionsOpen} callers, ${result.after.connections} upstream connections`,
  ].join('\n');
}

/** What a soak must hold; the reasons why it does not. */
export function judgeSoak(result: SoakResult, rssGrowthMbMax: number): string[] {
  const wrong: string[] = [];
  if (result.failures.size > 0) wrong.push('an idempotent request failed');
  const { after, samples } = result;
  if (after.exchangesOpen + after.pending + after.queued + after.connectionsOpen > 0) {
    wrong.push('a gauge is not zero');
  }
  if (after.connections > 0) wrong.push('upstream connections are left');
  const first = samples[0];
  if (first !== undefined && samples.at(-1)!.rssMb - first.rssMb > rssGrowthMbMax) {
    wrong.push('memory grows');
  }
  if (result.kills < 2 || result.reloads < 2) wrong.push('it was not disturbed');
  return wrong;
}
