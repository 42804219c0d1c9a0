/**
 * Runs workers: starts them, starts those again that die, replaces them one by one, and adds up what
 * they count. A single one inherits its sockets; several share the port, under Bun by SO_REUSEPORT and
 * under Node through `node:cluster`.
 */
import { type ChildProcess, fork } from 'node:child_process';
import cluster from 'node:cluster';
import { fileURLToPath } from 'node:url';
import { FaultLog, type FaultReport, OnehopError } from '../core/index.ts';
import type { GatewayConfig, ProcessFacts } from '../gateway/index.ts';
import { mergeSnapshots, type Snapshot, totalsOf } from '../telemetry/index.ts';
import type { HeldAddress } from '../transport/index.ts';
import { claim } from './claim.ts';
import { handOnWhenGone } from './handed-over.ts';
import type { Running } from './running.ts';
import type { FromWorker, ToWorker } from './worker-messages.ts';

const backOffMinMs = 100;
const backOffMaxMs = 10_000;
/** A worker that ran this long is started again without delay when it dies. */
const settledMs = 30_000;
const answerMs = 2000;
const startMs = 15_000;
/** Of the runtime's own options, which workers inherit: two processes cannot listen to one debugger. */
const debugging = /^--(inspect|debug)/;

const workerFile = fileURLToPath(new URL('./worker.js', import.meta.url));

type Question = ToWorker extends infer M
  ? M extends { id: number }
    ? Omit<M, 'id'>
    : never
  : never;

class Worker {
  readonly child: ChildProcess;
  readonly startedMs = performance.now();
  readonly listening: Promise<void>;
  readonly gone: Promise<void>;
  /** It was told to leave: its end is no accident. */
  leaving = false;
  up = false;
  last: Snapshot = {};
  /** Why it could not start; null when it has not said so. */
  problem: string | null = null;
  #nextId = 1;
  /** What it was started with. */
  readonly config: GatewayConfig;
  readonly #descriptors: readonly number[];
  readonly #waiting = new Map<number, (value: unknown) => void>();

  constructor(child: ChildProcess, config: GatewayConfig, descriptors: readonly number[]) {
    this.child = child;
    this.gone = new Promise((resolve) => {
      const left = (): void => {
        this.up = false;
        for (const answer of this.#waiting.values()) answer(null);
        this.#waiting.clear();
        resolve();
      };
      child.once('exit', left);
      child.on('error', () => {
        // It never was: no descriptors or processes are left. Nothing else tells of its end.
        if (child.pid === undefined) left();
      });
    });
    this.listening = new Promise((resolve, reject) => {
      const fail = (message: string): void =>
        reject(new OnehopError('LISTEN_FAILED', message, { phase: 'config' }));
      child.on('message', (message) => this.#heard(message as FromWorker, resolve, fail));
      child.once('exit', (code, signal) => fail(`a worker ended at once (${signal ?? code})`));
      child.once('error', (error) => fail(`a worker could not be started: ${error.message}`));
      setTimeout(() => {
        if (this.up) return;
        fail('a worker did not start in time');
        // It would keep its place for ever.
        child.kill('SIGKILL');
      }, startMs).unref();
    });
    this.listening.catch(() => {});
    this.config = config;
    this.#descriptors = descriptors;
  }

  #heard(message: FromWorker, listening: () => void, failed: (message: string) => void): void {
    switch (message.type) {
      case 'hello':
        this.tell({ type: 'start', config: this.config, descriptors: this.#descriptors });
        return;
      case 'listening':
        this.up = true;
        listening();
        return;
      case 'failed':
        this.problem = message.message;
        failed(message.message);
        return;
      case 'leaving':
        this.last = message.snapshot;
        return;
      case 'answer':
        this.#waiting.get(message.id)?.(message.value);
        this.#waiting.delete(message.id);
    }
  }

  tell(message: ToWorker): void {
    if (this.child.connected) this.child.send(message, () => {});
  }

  /** Resolves to null when there is no answer in time. */
  ask<T>(question: Question): Promise<T | null> {
    if (!this.child.connected) return Promise.resolve(null);
    const id = this.#nextId++;
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        resolve(null);
      }, answerMs);
      this.#waiting.set(id, (value) => {
        clearTimeout(timer);
        resolve(value as T | null);
      });
      this.tell({ ...question, id } as ToWorker);
    });
  }

  drain(): Promise<void> {
    this.leaving = true;
    this.tell({ type: 'drain' });
    return this.gone;
  }
}

export interface SupervisorOptions {
  /** The Bun to run workers on; null runs them on this runtime. */
  bun: string | null;
  /** Told what happens to workers, one sentence each. */
  log: (text: string) => void;
}

export class Supervisor implements Running {
  #config: GatewayConfig;
  readonly #options: SupervisorOptions;
  /** By place; a place is empty while its worker waits to be started again. */
  readonly #workers: (Worker | null)[];
  /** Workers that were replaced and finish what they have. */
  readonly #old = new Set<Worker>();
  /**
   * The addresses of a single worker, bound for as long as it may be started again: what it has not
   * accepted when it ends, and who comes before the next one is up, waits for that one. Empty where
   * workers share the port, or where the runtime cannot bind for others.
   */
  #held: HeldAddress[] = [];
  #totals: Snapshot = {};
  #restarts = 0;
  #backOffMs = backOffMinMs;
  #draining = false;
  #faults = 0;
  readonly #faultLog: FaultLog;
  #rolling: Promise<string | null> | null = null;

  constructor(config: GatewayConfig, options: SupervisorOptions) {
    this.#config = config;
    this.#options = options;
    this.#faultLog = new FaultLog((line) => options.log(line.replace(/^onehop: /, '')));
    this.#workers = new Array<Worker | null>(config.workers).fill(null);
  }

  async start(): Promise<readonly string[]> {
    const held = await claim(this.#config);
    const listen = held.map(({ host, port, path }) => ({ host, port, path }));
    // One socket for several would give whole bursts of connections to whoever wakes first.
    const inherits = this.#config.workers === 1;
    if (inherits && held.every(({ descriptor }) => descriptor !== null)) this.#held = held;
    else for (const address of held) address.release();
    this.#config = { ...this.#config, listen };
    const places = this.#workers.map((_, index) => index);
    try {
      await Promise.all(places.map((place) => this.#spawn(place).listening));
    } catch (error) {
      this.#draining = true;
      this.kill();
      throw error;
    }
    return listen.map(({ host, port, path }) => {
      if (path !== null) return `unix:${path}`;
      return `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
    });
  }

  #fork(): ChildProcess {
    const { bun } = this.#options;
    const onBun = process.versions['bun'] !== undefined;
    if (bun !== null || onBun || this.#held.length > 0) {
      const stdio = [
        'inherit',
        'inherit',
        'inherit',
        'ipc',
        ...this.#held.map(({ descriptor }) => descriptor!),
      ] as const;
      const execPath = bun ?? process.execPath;
      const own = bun === null ? process.execArgv : [];
      const execArgv = own.filter((option) => !debugging.test(option));
      return fork(workerFile, [], { execPath, execArgv, stdio: [...stdio] });
    }
    cluster.setupPrimary({ exec: workerFile, args: [] });
    const child = cluster.fork().process;
    handOnWhenGone(child);
    return child;
  }

  #spawn(place: number): Worker {
    // In the child they follow the three streams and the channel.
    const descriptors = this.#held.map((_, index) => 4 + index);
    const worker = new Worker(this.#fork(), this.#config, descriptors);
    this.#workers[place] = worker;
    worker.listening.then(
      () => this.#catchUp(worker),
      () => {},
    );
    worker.gone
      .then(() => this.#ended(worker, place))
      .catch((error: unknown) => this.faulted(error, 'the end of a worker'));
    return worker;
  }

  /** A reload while it was starting has passed it by. */
  #catchUp(worker: Worker): void {
    if (worker.config === this.#config || this.#draining) return;
    void worker.ask<string>({ type: 'apply', config: this.#config });
  }

  #ended(worker: Worker, place: number): void {
    this.#totals = mergeSnapshots([this.#totals, totalsOf(worker.last)]);
    this.#old.delete(worker);
    if (this.#workers[place] !== worker) return;
    this.#workers[place] = null;
    if (this.#draining) return;
    const { exitCode, signalCode, pid } = worker.child;
    const why = worker.problem === null ? '' : `: ${worker.problem}`;
    if (performance.now() - worker.startedMs >= settledMs) this.#backOffMs = backOffMinMs;
    const delayMs = this.#backOffMs;
    this.#backOffMs = Math.min(delayMs * 2, backOffMaxMs);
    this.#options.log(
      `worker ${pid} ended (${signalCode ?? `exit code ${exitCode}`}${why}); the next starts in ${delayMs} ms`,
    );
    this.#startLater(place, delayMs);
  }

  #startLater(place: number, delayMs: number): void {
    setTimeout(() => {
      if (this.#draining || this.#workers[place] !== null) return;
      try {
        this.#spawn(place);
        this.#restarts++;
      } catch (error) {
        // No descriptors or processes are left: later there may be.
        this.faulted(error, 'the start of a worker');
        this.#startLater(place, backOffMaxMs);
      }
    }, delayMs);
  }

  /** Of the supervisor itself; those of workers are counted there. */
  readonly faulted: FaultReport = (error, where) => {
    this.#faults++;
    this.#faultLog.add(error, where);
  };

  #live(): Worker[] {
    return this.#workers.filter((worker): worker is Worker => worker?.up === true);
  }

  /** While one worker takes requests the group does. */
  async isReady(): Promise<boolean> {
    if (this.#draining) return false;
    const answers = await Promise.all(
      this.#live().map((worker) => worker.ask<boolean>({ type: 'ready' })),
    );
    return answers.includes(true);
  }

  async snapshot(): Promise<Snapshot> {
    const workers = [...this.#live(), ...this.#old];
    const snapshots = await Promise.all(
      workers.map(async (worker) => {
        const snapshot = await worker.ask<Snapshot>({ type: 'snapshot' });
        if (snapshot !== null) worker.last = snapshot;
        return snapshot ?? totalsOf(worker.last);
      }),
    );
    const own: Snapshot = {
      onehop_workers: [[[], this.#live().length]],
      onehop_worker_restarts_total: [[[], this.#restarts]],
      onehop_internal_errors_total: [[[], this.#faults]],
    };
    return mergeSnapshots([own, this.#totals, ...snapshots]);
  }

  async status(facts: ProcessFacts): Promise<object> {
    const workers = await Promise.all(
      this.#live().map((worker) => worker.ask<object>({ type: 'status', facts })),
    );
    return {
      version: facts.version,
      pid: process.pid,
      draining: this.#draining,
      config: { file: facts.configFile, lastReload: facts.lastReload },
      workersWanted: this.#workers.length,
      workerRestarts: this.#restarts,
      workersLeaving: this.#old.size,
      workers: workers.filter((worker) => worker !== null),
    };
  }

  async apply(config: GatewayConfig): Promise<string | null> {
    // Listeners and the number of workers stay as they are until a restart.
    const { listen, workers } = this.#config;
    const before = this.#config;
    this.#config = { ...config, listen, workers };
    const answers = await Promise.all(
      this.#live().map((worker) => worker.ask<string>({ type: 'apply', config: this.#config })),
    );
    const problem = answers.find((answer) => answer !== null) ?? null;
    if (problem !== null) this.#config = before;
    return problem;
  }

  reloadFailed(): void {
    // Counted once, not once per worker.
    this.#live()[0]?.tell({ type: 'reload-failed' });
  }

  reopenLogs(): void {
    for (const worker of [...this.#live(), ...this.#old]) worker.tell({ type: 'reopen' });
  }

  roll = (config: GatewayConfig): Promise<string | null> => {
    this.#rolling ??= this.#rollAll(config).finally(() => {
      this.#rolling = null;
    });
    return this.#rolling;
  };

  /** A new worker listens before the old one is told to leave, so there is no gap. */
  async #rollAll(config: GatewayConfig): Promise<string | null> {
    const { listen, workers } = this.#config;
    const before = this.#config;
    this.#config = { ...config, listen, workers };
    for (let place = 0; place < this.#workers.length; place++) {
      if (this.#draining) return null;
      const old = this.#workers[place];
      if (old?.up !== true) continue;
      this.#old.add(old);
      const next = this.#spawn(place);
      try {
        await next.listening;
      } catch (error) {
        next.leaving = true;
        this.#workers[place] = old;
        this.#old.delete(old);
        this.#config = before;
        return (error as Error).message;
      }
      void old.drain();
    }
    return null;
  }

  async drain(): Promise<void> {
    this.#draining = true;
    // With the last worker that stops accepting a port is free. A path goes away with its holder, so
    // it stays for as long as callers may still come.
    this.#release(({ path }) => path === null);
    const announced = setTimeout(() => this.#release(), this.#config.drain.announceMs);
    const all = [...this.#workers.filter((worker) => worker !== null), ...this.#old];
    await Promise.all(all.map((worker) => worker.drain()));
    clearTimeout(announced);
    this.#release();
  }

  #release(which: (held: HeldAddress) => boolean = () => true): void {
    const held = this.#held;
    this.#held = held.filter((address) => !which(address));
    for (const address of held) if (which(address)) address.release();
  }

  kill(): void {
    this.#draining = true;
    this.#release();
    for (const worker of [...this.#workers, ...this.#old]) worker?.child.kill('SIGKILL');
  }
}
