/** Starts and asks gateways in processes of their own; see gateway-child.ts. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export interface ChildGauges {
  pending: number;
  queued: number;
  /** Upstream connections. */
  connections: number;
  exchangesOpen: number;
  connectionsOpen: number;
  rssMb: number;
}

export class GatewayChild {
  port = 0;
  readonly #child: ChildProcess;
  readonly #waiting: ((line: string) => void)[] = [];
  readonly #exited: Promise<void>;

  private constructor(executable: string, config: object) {
    const script = fileURLToPath(new URL('./gateway-child.js', import.meta.url));
    this.#child = spawn(executable, [script, JSON.stringify(config)], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    createInterface({ input: this.#child.stdout! }).on('line', (line) =>
      this.#waiting.shift()?.(line),
    );
    this.#exited = new Promise((resolve) => this.#child.on('exit', () => resolve()));
  }

  /** `executable`: the runtime; default the one that runs this. */
  static async start(config: object, executable = process.execPath): Promise<GatewayChild> {
    const gateway = new GatewayChild(executable, { ...config, listen: '127.0.0.1:0' });
    gateway.port = Number(await gateway.#line());
    return gateway;
  }

  #line(): Promise<string> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('the gateway says nothing')), 10_000);
      this.#waiting.push((line) => {
        clearTimeout(timer);
        resolve(line);
      });
    });
  }

  /** The gauges now; with a configuration, after it was loaded. */
  async gauges(reload?: object): Promise<ChildGauges> {
    const text = reload === undefined ? 'gauges' : JSON.stringify(reload);
    this.#child.stdin!.write(`${text}\n`);
    return JSON.parse(await this.#line()) as ChildGauges;
  }

  async stop(): Promise<void> {
    this.#child.stdin!.end();
    await this.#exited;
  }
}
