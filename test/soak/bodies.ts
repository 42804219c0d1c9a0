/**
 * Long bodies through `onehop serve` and through the client library, up and down, fast and slow, with
 * small requests in between: no process may end, no byte be wrong, no transfer hang or fail but those
 * whose caller leaves on purpose, and nothing may be left of these or grow.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ServeProcess, serve, until } from '../support/serve-process.ts';
import { BodyCallers } from './bodies-callers.ts';
import type { TransferReport } from './bodies-tally.ts';
import { rssMbOf } from './child.ts';
import { LineChild } from './children.ts';
import { type SoakSample, sampleGateway } from './soak-gateway.ts';
import { pause } from './storm-phases.ts';

export interface BodiesOptions {
  /** No transfer begins after this; those under way end. */
  durationMs: number;
  sampleEveryMs: number;
  /** Of the gateway. */
  runtime: 'node' | 'bun';
  /** How often the client moves bodies of each size one at a time, before it moves several. */
  clientRounds: number;
  /** Runs the client library; the same runtime. */
  executable: string;
}

export interface MemorySample {
  atS: number;
  /** Of all processes of the gateway. */
  gatewayMb: number;
  clientMb: number;
}

export interface ClientReport extends TransferReport {
  connections: { idle: number; busy: number; opening: number };
}

export interface BodiesResult {
  runtime: string;
  durationS: number;
  gateway: TransferReport;
  /** Null when its process has ended. */
  client: ClientReport | null;
  /** How processes ended that were not to end. */
  ended: string[];
  memory: MemorySample[];
  /** The gateway without callers; null when it is gone. */
  before: SoakSample;
  after: SoakSample | null;
}

const poolIdleMs = 1000;
/** Share of the time in which bodies come one at a time. */
const aloneShare = 0.3;

const configOf = (port: number): string => `upstreams:
  bodies:
    targets: ["http://127.0.0.1:${port}"]
    timeouts: { head: 10m, idle: 1m, total: 0 }
    limits: { poolIdle: ${poolIdleMs} }
    retry: { attempts: 1 }
routes:
  - { path: /*, upstream: bodies }
limits: { body: 256MiB, bodyGap: 1m, writeStall: 1m }
drain: { idle: 1s, grace: 10s }
`;

class BodiesSoak {
  readonly options: BodiesOptions;
  readonly #dir = mkdtempSync(join(tmpdir(), 'onehop-bodies-'));
  readonly #upstream = new LineChild('bodies-upstream-child', []);
  served!: ServeProcess;
  client: LineChild | null = null;
  #url = '';

  constructor(options: BodiesOptions) {
    this.options = options;
  }

  async start(): Promise<void> {
    const port = Number(await this.#upstream.line());
    const file = join(this.#dir, 'onehop.yaml');
    writeFileSync(file, configOf(port));
    this.served = await serve([
      ...[file, '--runtime', this.options.runtime, '--no-watch'],
      ...['--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0'],
    ]);
    this.#url = `http://127.0.0.1:${port}`;
  }

  /** When it has moved bodies one at a time; it goes on with several then. */
  async startClient(): Promise<void> {
    const args = [this.#url, String(this.options.clientRounds)];
    this.client = new LineChild('bodies-client-child', args, this.options.executable);
    await this.client.line(600_000).catch(() => {});
  }

  async end(): Promise<void> {
    await this.served?.end();
    await this.client?.kill();
    await this.#upstream.kill();
    rmSync(this.#dir, { recursive: true, force: true });
  }

  /** Whether there is anything to be learned yet. */
  get goesOn(): boolean {
    const { exitCode, signalCode } = this.served.child;
    return exitCode === null && signalCode === null && this.#upstream.ended === null;
  }

  /** Also those that a supervisor has replaced already. */
  ended(): string[] {
    const { child, stderr } = this.served;
    const all = [...stderr.matchAll(/worker \d+ ended \(.*?\)/g)].map(([text]) => text);
    const { exitCode, signalCode } = child;
    if (exitCode !== null || signalCode !== null) {
      all.push(`the gateway ended (${signalCode ?? `exit code ${exitCode}`})`);
    }
    const client = this.client?.ended ?? null;
    if (client !== null) all.push(`the client ended (${client})`);
    if (this.#upstream.ended !== null) all.push(`the upstream ended (${this.#upstream.ended})`);
    return all;
  }

  /** Its answer comes when what is under way is over, which may take its time; null without one. */
  async clientReport(): Promise<ClientReport | null> {
    const { client } = this;
    if (client === null || client.ended !== null) return null;
    return client.ask('report', 300_000).then(
      (text) => JSON.parse(text) as ClientReport,
      () => null,
    );
  }

  async memory(atS: number): Promise<MemorySample> {
    const { workers, supervisor } = await sampleGateway(this.served, atS);
    const ofWorkers = workers.reduce((sum, { rssMb }) => sum + rssMb, 0);
    const clientMb = this.client === null ? 0 : (rssMbOf(this.client.pid) ?? 0);
    return { atS, gatewayMb: supervisor.rssMb + ofWorkers, clientMb };
  }

  /** When callers and upstream connections have gone. */
  async idle(): Promise<SoakSample> {
    let sample = await sampleGateway(this.served, 0);
    const isIdle = ({ pending, queued, callers, pool }: SoakSample): boolean =>
      pending + queued + callers + pool.idle + pool.busy + pool.opening === 0;
    await until(
      async () => {
        sample = await sampleGateway(this.served, 0);
        return isIdle(sample);
      },
      'all gauges to be zero',
      poolIdleMs + 20_000,
    ).catch(() => {});
    return sample;
  }
}

export async function runBodies(options: BodiesOptions): Promise<BodiesResult> {
  const soak = new BodiesSoak(options);
  try {
    await soak.start();
    const before = await sampleGateway(soak.served, 0);
    const goesOn = (): boolean => soak.goesOn;
    const callers = new BodyCallers(Number(new URL(soak.served.url).port), goesOn);
    const startMs = performance.now();
    const elapsedMs = (): number => performance.now() - startMs;
    const seconds = (): number => Math.round(elapsedMs() / 100) / 10;
    await callers.alone(() => elapsedMs() < options.durationMs * aloneShare);
    await soak.startClient();
    callers.start();
    const memory: MemorySample[] = [];
    while (elapsedMs() < options.durationMs && goesOn()) {
      await pause(options.sampleEveryMs);
      const sample = goesOn() ? await soak.memory(seconds()).catch(() => null) : null;
      if (sample !== null) memory.push(sample);
    }
    const [client] = await Promise.all([soak.clientReport(), callers.stop()]);
    const durationS = seconds();
    const after = await soak.idle().catch(() => null);
    const { runtime } = options;
    const ended = soak.ended();
    return { runtime, durationS, gateway: callers.tally, client, ended, memory, before, after };
  } finally {
    await soak.end();
  }
}
