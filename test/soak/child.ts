/** Starts and asks gateways in processes of their own; see gateway-child.ts. */
import { readdirSync, readFileSync } from 'node:fs';
import { LineChild } from './children.ts';

export interface ChildGauges {
  pending: number;
  queued: number;
  /** Upstream connections. */
  connections: number;
  exchangesOpen: number;
  connectionsOpen: number;
  rssMb: number;
  /** Open file descriptors; null where /proc does not tell. */
  descriptors: number | null;
}

/** Open file descriptors of a process; null where /proc does not tell. */
export function descriptorsOf(pid: number): number | null {
  try {
    return readdirSync(`/proc/${pid}/fd`).length;
  } catch {
    return null;
  }
}

/** Resident memory in MB; null where /proc does not tell. */
export function rssMbOf(pid: number): number | null {
  try {
    const text = readFileSync(`/proc/${pid}/status`, 'utf8');
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(text)![1]) / 1000;
  } catch {
    return null;
  }
}

export class GatewayChild {
  port = 0;
  readonly #child: LineChild;

  private constructor(executable: string, config: object) {
    this.#child = new LineChild('gateway-child', [JSON.stringify(config)], executable);
  }

  /** `executable`: the runtime; default the one that runs this. */
  static async start(config: object, executable = process.execPath): Promise<GatewayChild> {
    const gateway = new GatewayChild(executable, { ...config, listen: '127.0.0.1:0' });
    gateway.port = Number(await gateway.#child.line());
    return gateway;
  }

  async gauges(): Promise<ChildGauges> {
    const own = JSON.parse(await this.#child.ask('gauges')) as ChildGauges;
    return { ...own, descriptors: descriptorsOf(this.#child.pid) };
  }

  stop(): Promise<void> {
    return this.#child.stop();
  }
}
