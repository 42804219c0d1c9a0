/**
 * Steady load through `onehop serve` while upstreams are killed and come back, the configuration is
 * reloaded, and workers are replaced and killed: no idempotent request may fail, every other failure
 * must be told to its caller, and neither memory nor descriptors nor pools may grow.
 */
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { childrenOf, type ServeProcess, serve, until } from '../support/serve-process.ts';
import { LineChild } from './children.ts';
import { type CallerKind, Callers, type Tally } from './soak-callers.ts';
import { type SoakSample, sampleGateway, WorkerKiller } from './soak-gateway.ts';
import { pause } from './storm-phases.ts';

export interface SoakOptions {
  durationMs: number;
  /** Something is done to the gateway or its upstreams this often. */
  disturbEveryMs: number;
  /** Requests per second, about. */
  ratePerS: number;
  runtime: 'node' | 'bun';
}

export interface SoakResult {
  runtime: string;
  durationS: number;
  requests: number;
  callers: Record<CallerKind, Tally>;
  disturbances: Record<Disturbance, number>;
  /** Once the last worker was replaced, until the end; nothing but upstreams and reloads since. */
  samples: SoakSample[];
  /** Fresh and idle; at the end, idle again. */
  before: SoakSample;
  after: SoakSample;
}

type Disturbance =
  | 'upstreamKilled'
  | 'reloadByFile'
  | 'reloadBySignal'
  | 'rollingRestart'
  | 'workerKilled';

class Upstream {
  ports = '0 0';
  #child: LineChild | null = null;

  async start(): Promise<void> {
    this.#child = new LineChild('upstream-child', this.ports.split(' '));
    this.ports = await this.#child.line();
  }

  async kill(): Promise<void> {
    await this.#child?.kill();
  }
}

const poolIdleMs = 1000;

/** `generation` changes something that a reload can change. */
function configOf(upstreams: readonly Upstream[], generation: number): string {
  const targets = (at: number): string =>
    upstreams.map(({ ports }) => `"http://127.0.0.1:${ports.split(' ')[at]}"`).join(', ');
  const balance = generation % 2 === 0 ? 'least-pending' : 'round-robin';
  // A fresh worker has earned no retries yet, and a killed upstream takes down several at once.
  const retry = 'retry: { budgetMin: 20 }';
  const more = `balance: ${balance}, limits: { poolIdle: ${poolIdleMs} }, ${retry}`;
  return `upstreams:
  plain: { targets: [${targets(0)}], ${more} }
  models: { protocol: openai, targets: [${targets(1)}], ${more} }
routes:
  - { path: /v1/*, upstream: models }
  - { path: /*, upstream: plain }
drain: { idle: 1s, grace: 10s }
`;
}

/** Share of the time in which workers are replaced and killed; then they are left to grow, or not. */
const restartShare = 0.4;

class Soak {
  readonly options: SoakOptions;
  readonly disturbances: Record<Disturbance, number> = {
    upstreamKilled: 0,
    reloadByFile: 0,
    reloadBySignal: 0,
    rollingRestart: 0,
    workerKilled: 0,
  };
  readonly killer = new WorkerKiller();
  readonly #dir = mkdtempSync(join(tmpdir(), 'onehop-soak-'));
  readonly #file = join(this.#dir, 'onehop.yaml');
  readonly #upstreams = [new Upstream(), new Upstream(), new Upstream()];
  served!: ServeProcess;
  #generation = 0;

  constructor(options: SoakOptions) {
    this.options = options;
  }

  get port(): number {
    return Number(new URL(this.served.url).port);
  }

  async start(): Promise<void> {
    await Promise.all(this.#upstreams.map((upstream) => upstream.start()));
    writeFileSync(this.#file, configOf(this.#upstreams, 0));
    this.served = await serve([
      ...[this.#file, '--runtime', this.options.runtime, '--workers', '2'],
      ...['--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0'],
    ]);
  }

  async end(): Promise<void> {
    await this.served?.end();
    await Promise.all(this.#upstreams.map((upstream) => upstream.kill()));
    rmSync(this.#dir, { recursive: true, force: true });
  }

  /** Does one thing and waits until it has been taken in. */
  async disturb(kind: Disturbance): Promise<void> {
    const { served } = this;
    const from = served.stderr.length;
    this.disturbances[kind]++;
    switch (kind) {
      case 'upstreamKilled': {
        const victim = this.#upstreams[this.disturbances[kind] % this.#upstreams.length]!;
        await victim.kill();
        await pause(this.options.disturbEveryMs / 2);
        await victim.start();
        return;
      }
      case 'reloadByFile':
        // As editors do it: the new file takes the name.
        writeFileSync(`${this.#file}.new`, configOf(this.#upstreams, ++this.#generation));
        renameSync(`${this.#file}.new`, this.#file);
        await served.says(/the file changed: done/, from);
        return;
      case 'reloadBySignal':
        served.kill('SIGHUP');
        await served.says(/SIGHUP: done/, from);
        return;
      case 'rollingRestart':
        served.kill('SIGUSR1');
        await served.says(/workers are replaced: done/, from);
        return;
      case 'workerKilled': {
        const pids = await childrenOf(served.pid);
        this.killer.kill(pids[this.disturbances[kind] % pids.length]!, this.port);
        await served.says(/ended \(SIGKILL\)/, from);
        await this.#twoWorkers();
      }
    }
  }

  async #twoWorkers(): Promise<void> {
    await until(
      async () => (await sampleGateway(this.served, 0)).workers.length >= 2,
      'the worker to come back',
      30_000,
    );
  }
}

const restarts: Disturbance[] = [
  ...['rollingRestart', 'upstreamKilled', 'workerKilled', 'reloadByFile', 'reloadBySignal'],
] as Disturbance[];
const others: Disturbance[] = ['upstreamKilled', 'reloadByFile', 'reloadBySignal'];

async function disturbAll(
  soak: Soak,
  sampleNow: () => Promise<void>,
  elapsedMs: () => number,
): Promise<void> {
  const { durationMs, disturbEveryMs } = soak.options;
  const disturb = async (kind: Disturbance): Promise<void> => {
    const nextMs = elapsedMs() + disturbEveryMs;
    await soak.disturb(kind);
    await pause(nextMs - elapsedMs());
  };
  // Each kind at least once and a few samples, however long a slow machine takes for one.
  for (let round = 0; round < 3 || elapsedMs() < durationMs * restartShare; round++) {
    await disturb(restarts[round % restarts.length]!);
  }
  for (let round = 0; round < 4 || elapsedMs() < durationMs - disturbEveryMs; round++) {
    await disturb(others[round % others.length]!);
    await sampleNow();
  }
}

function startCallers(callers: Callers, ratePerS: number): void {
  // Half of the requests on kept connections, a fifth on new ones, a quarter POSTs, some streams.
  const shares: [CallerKind, number, number][] = [
    ['get', 10, 0.5],
    ['get-new', 4, 0.2],
    ['post', 5, 0.25],
    ['stream', 8, 0.05],
  ];
  for (const [kind, count, share] of shares) {
    callers.start(kind, count, (1000 * count) / (ratePerS * share));
  }
}

export async function runSoak(options: SoakOptions): Promise<SoakResult> {
  const soak = new Soak(options);
  try {
    await soak.start();
    const before = await sampleGateway(soak.served, 0);
    const callers = new Callers(soak.port, soak.killer.wasKilled);
    startCallers(callers, options.ratePerS);
    const startMs = performance.now();
    const elapsedMs = (): number => performance.now() - startMs;
    const samples: SoakSample[] = [];
    const seconds = (): number => Math.round(elapsedMs() / 100) / 10;
    await disturbAll(
      soak,
      async () => void samples.push(await sampleGateway(soak.served, seconds())),
      elapsedMs,
    );
    const durationS = seconds();
    await callers.stop();
    // Upstream connections retire, and so do the admin's own.
    await pause(poolIdleMs + 2000);
    const after = await sampleGateway(soak.served, seconds());
    return {
      runtime: options.runtime,
      durationS,
      requests: callers.requests,
      callers: callers.tallies,
      disturbances: soak.disturbances,
      samples,
      before,
      after,
    };
  } finally {
    await soak.end();
  }
}
