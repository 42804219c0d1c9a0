/** `onehop serve` with workers, as the soak sees it: what it has open, and how its workers die. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { ask, childrenOf, type ServeProcess, sample } from '../support/serve-process.ts';
import { descriptorsOf, rssMbOf } from './child.ts';

export interface SoakSample {
  atS: number;
  /** Of each worker, by process id. */
  workers: { pid: number; rssMb: number; descriptors: number }[];
  supervisor: { rssMb: number; descriptors: number };
  /** Handles the runtimes count, over all workers. */
  handles: number;
  pending: number;
  queued: number;
  callers: number;
  /** Upstream connections. */
  pool: { idle: number; busy: number; opening: number };
}

interface Status {
  workers?: Status[];
  connections: { open: number };
  upstreams: Record<
    string,
    {
      pending: number;
      queued: number;
      targets: { connections: { idle: number; busy: number; opening: number } }[];
    }
  >;
}

export async function sampleGateway(served: ServeProcess, atS: number): Promise<SoakSample> {
  const [statusText, metrics, pids] = await Promise.all([
    ask(`${served.admin}/status`),
    ask(`${served.admin}/metrics`),
    childrenOf(served.pid),
  ]);
  const status = JSON.parse(statusText.body) as Status;
  const pool = { idle: 0, busy: 0, opening: 0 };
  let [pending, queued, callers] = [0, 0, 0];
  for (const worker of status.workers ?? [status]) {
    callers += worker.connections.open;
    for (const upstream of Object.values(worker.upstreams)) {
      pending += upstream.pending;
      queued += upstream.queued;
      for (const { connections } of upstream.targets) {
        pool.idle += connections.idle;
        pool.busy += connections.busy;
        pool.opening += connections.opening;
      }
    }
  }
  const of = (pid: number) => ({ rssMb: rssMbOf(pid) ?? 0, descriptors: descriptorsOf(pid) ?? 0 });
  return {
    atS,
    // One that left between the look-ups has no memory any more.
    workers: pids.map((pid) => ({ pid, ...of(pid) })).filter(({ rssMb }) => rssMb > 0),
    supervisor: of(served.pid),
    handles: sample(metrics.body, 'process_active_resources'),
    pending,
    queued,
    callers,
    pool,
  };
}

/** Ports of callers whose connection process `pid` has, and of those that nobody has accepted yet. */
function callerPortsOf(pid: number, gatewayPort: number): number[] {
  const inodes = new Set<string>(['0']);
  for (const name of readdirSync(`/proc/${pid}/fd`)) {
    try {
      const inode = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${name}`))?.[1];
      if (inode !== undefined) inodes.add(inode);
    } catch {
      // Closed since it was listed.
    }
  }
  const wanted = gatewayPort.toString(16).toUpperCase().padStart(4, '0');
  const ports: number[] = [];
  for (const line of readFileSync('/proc/net/tcp', 'utf8').split('\n').slice(1)) {
    const fields = line.trim().split(/\s+/);
    if (fields[1]?.split(':')[1] !== wanted || !inodes.has(fields[9] ?? '')) continue;
    ports.push(Number.parseInt(fields[2]!.split(':')[1]!, 16));
  }
  return ports;
}

/** Opened so shortly before or after the kill, nobody can tell which worker had it. */
const unsureMs = 20;

/** Kills workers and remembers which connections went down with them. */
export class WorkerKiller {
  readonly #kills: { atMs: number; ports: Set<number> }[] = [];

  kill(pid: number, gatewayPort: number): void {
    const ports = new Set(callerPortsOf(pid, gatewayPort));
    process.kill(pid, 'SIGKILL');
    this.#kills.push({ atMs: performance.now(), ports });
  }

  readonly wasKilled = (connection: { localPort: number; openedMs: number }): boolean =>
    this.#kills.some(
      ({ atMs, ports }) =>
        (ports.has(connection.localPort) && connection.openedMs < atMs) ||
        Math.abs(connection.openedMs - atMs) < unsureMs,
    );
}
