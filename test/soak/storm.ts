/**
 * Callers that vanish in every phase of an exchange, by FIN or by reset, and how long it takes until
 * the upstream sees its connection close.
 */
import { connect, createServer, type Socket } from 'node:net';
import { type ChildGauges, GatewayChild } from './child.ts';

export interface StormOptions {
  clients: number;
  /** At most so many at once. */
  concurrency: number;
  /** Runtime of the gateway; default the one that runs this. */
  executable?: string;
  seed?: number;
}

export interface StormResult {
  clients: number;
  /** Milliseconds from the kill to the close at the upstream, sorted. */
  delaysMs: number[];
  /** The same by phase and way of leaving. */
  byPhase: Map<string, number[]>;
  /** Exchanges whose close the upstream never saw. */
  missed: number;
  after: ChildGauges;
  rssBeforeMb: number;
}

const phases = ['wait', 'json', 'head', 'stream', 'upload'] as const;
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Numerical Recipes' generator: reproducible kill times. */
function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 0x1_0000_0000;
  };
}

const requestOf = (phase: string, id: number): string => {
  const head = `/${phase}/${id} HTTP/1.1\r\nHost: t\r\n`;
  if (phase === 'json') return `POST ${head}Content-Length: 7\r\n\r\n{"a":1}`;
  if (phase === 'upload') {
    return `POST ${head}Content-Length: 1000000\r\n\r\n${'x'.repeat(100_000)}`;
  }
  return `GET ${head}\r\n`;
};

/** The upstream: starts what the phase says and never ends it. */
function startUpstream(onArrive: (id: number) => void, onClose: (id: number) => void) {
  const server = createServer({ noDelay: true }, (socket) => {
    let id = -1;
    let timer: NodeJS.Timeout | null = null;
    socket.on('data', (bytes) => {
      if (id >= 0) return;
      const [, phase, number] = /^\w+ \/(\w+)\/(\d+) /.exec((bytes as Buffer).toString('latin1'))!;
      id = Number(number);
      if (phase === 'head') socket.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n');
      if (phase === 'stream') {
        socket.write(
          'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n',
        );
        timer = setInterval(() => socket.write('9\r\ndata: 1\n\n\r\n'), 20);
      }
      onArrive(id);
    });
    const gone = (): void => {
      if (timer !== null) clearInterval(timer);
      timer = null;
      if (id >= 0) onClose(id);
    };
    // Whichever is noticed first: FIN, reset or the end.
    socket.on('end', gone);
    socket.on('error', gone);
    socket.on('close', gone);
  });
  return new Promise<{ port: number; close(): void }>((resolve) => {
    server.listen(0, '127.0.0.1', 2048, () => {
      resolve({
        port: (server.address() as { port: number }).port,
        close: () => server.close(),
      });
    });
  });
}

export async function runStorm(options: StormOptions): Promise<StormResult> {
  const random = randomFrom(options.seed ?? 1);
  const arrived = new Map<number, () => void>();
  const closed = new Map<number, () => void>();
  const upstream = await startUpstream(
    (id) => arrived.get(id)?.(),
    (id) => closed.get(id)?.(),
  );
  const gateway = await GatewayChild.start(
    {
      upstreams: { up: { targets: [`http://127.0.0.1:${upstream.port}`] } },
      routes: [{ path: '/*', upstream: 'up' }],
      limits: { connectionsPerAddress: 100_000 },
    },
    options.executable,
  );
  const byPhase = new Map<string, number[]>();
  let missed = 0;

  async function one(id: number): Promise<void> {
    const phase = phases[id % phases.length]!;
    const reset = random() < 0.5;
    const socket: Socket = connect({ port: gateway.port, host: '127.0.0.1', noDelay: true });
    socket.on('error', () => {});
    socket.on('data', () => {});
    const there = new Promise<void>((resolve) => arrived.set(id, resolve));
    const gone = new Promise<number>((resolve) => closed.set(id, () => resolve(performance.now())));
    socket.write(requestOf(phase, id), 'latin1');
    await there;
    await pause(random() * 60);
    const killedMs = performance.now();
    if (reset) socket.resetAndDestroy();
    else socket.destroy();
    const atMs = await Promise.race([gone, pause(3000).then(() => -1)]);
    arrived.delete(id);
    closed.delete(id);
    if (atMs < 0) {
      missed++;
      return;
    }
    const key = `${phase} ${reset ? 'reset' : 'FIN'}`;
    const list = byPhase.get(key) ?? [];
    list.push(atMs - killedMs);
    byPhase.set(key, list);
  }

  try {
    for (let id = 1_000_000; id < 1_000_040; id++) await one(id); // warm up
    byPhase.clear();
    const { rssMb: rssBeforeMb } = await gateway.gauges();
    let next = 0;
    await Promise.all(
      Array.from({ length: options.concurrency }, async () => {
        while (next < options.clients) await one(next++);
      }),
    );
    await pause(1200); // what lingers on the callers' side ends within a second
    const after = await gateway.gauges();
    const delaysMs = [...byPhase.values()].flat().sort((a, b) => a - b);
    return { clients: options.clients, delaysMs, byPhase, missed, after, rssBeforeMb };
  } finally {
    await gateway.stop();
    upstream.close();
  }
}

/** The value below which `share` of the sorted values lie. */
export const quantile = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!;

export function describeStorm(result: StormResult): string {
  const lines = [...result.byPhase].map(([phase, delays]) => {
    const sorted = delays.sort((a, b) => a - b);
    const [median, worst] = [quantile(sorted, 0.5), sorted.at(-1)!];
    return `  ${phase.padEnd(14)} median ${median.toFixed(2)} ms, worst ${worst.toFixed(2)} ms`;
  });
  const { delaysMs: all, after } = result;
  return [
    `${result.clients} callers killed, ${result.missed} closes missed; median ${quantile(all, 0.5).toFixed(2)} ms, ` +
      `p99 ${quantile(all, 0.99).toFixed(2)} ms, worst ${all.at(-1)!.toFixed(2)} ms`,
    ...lines,
    `  left: ${after.exchangesOpen} exchanges, ${after.pending} pending, ${after.queued} queued, ` +
      `${after.connectionsOpen} callers, ${after.connections} upstream connections; ` +
      `RSS ${result.rssBeforeMb.toFixed(0)} MB before, ${after.rssMb.toFixed(0)} MB after`,
  ].join('\n');
}
