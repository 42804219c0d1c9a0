/** What a server process of the study says about itself over a measured window. */
import { performance } from 'node:perf_hooks';

/** The JSON of `GET /_onehop/measure/`; the Python peer answers the same. */
export interface ApiMeasure {
  cpuUserUs: number;
  cpuSystemUs: number;
  /** How much later than asked a timer fires; null without a sample. */
  loopDelayP50Ms: number | null;
  loopDelayP99Ms: number | null;
  loopDelayMaxMs: number | null;
  /** Share of the window in which the event loop was busy, 0..1; null where unknown. */
  loopUtilisation: number | null;
  /** Highest resident size since the process started. */
  rssPeakBytes: number;
  pid: number;
}

/** Short enough to see a stall of a few ms in a run of one second; costs about 500 wake-ups/s. */
const resolutionMs = 2;
/** Half an hour of samples; later ones are not kept. */
const samplesMax = 1_000_000;

/** `reset`, `pause` and `resume` are also what `POST /_onehop/measure/<it>/` does. */
export interface MeasureProbe {
  /** Starts a new window, running. */
  reset(): void;
  /** Stops the window: what follows is not counted, and nothing wakes the process. */
  pause(): void;
  /** Lets a paused window go on. */
  resume(): void;
  read(): ApiMeasure;
  close(): void;
}

export const measureActions = ['reset', 'pause', 'resume'] as const;

/**
 * Delays of the event loop, from a timer of our own: the histograms that the runtimes offer cannot
 * be paused without taking the pause for a delay.
 */
class DelaySampler {
  #samples: number[] = [];
  #timer: NodeJS.Timeout | null = null;
  #lastMs = 0;

  start(): void {
    if (this.#timer !== null) return;
    this.#lastMs = performance.now();
    this.#timer = setInterval(() => {
      const nowMs = performance.now();
      const delayMs = nowMs - this.#lastMs - resolutionMs;
      this.#lastMs = nowMs;
      if (this.#samples.length < samplesMax) this.#samples.push(delayMs > 0 ? delayMs : 0);
    }, resolutionMs);
    this.#timer.unref();
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }

  clear(): void {
    this.#samples = [];
    this.#lastMs = performance.now();
  }

  sorted(): Float64Array {
    return Float64Array.from(this.#samples).sort();
  }
}

function delayAt(sorted: Float64Array, share: number): number | null {
  if (sorted.length === 0) return null;
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!;
}

/** Starts the probe; the first window begins now. */
export function startMeasureProbe(): MeasureProbe {
  const delay = new DelaySampler();
  const sum = { user: 0, system: 0, active: 0, idle: 0 };
  let running = false;
  let cpu = process.cpuUsage();
  let loop = performance.eventLoopUtilization();
  const take = (): void => {
    const used = process.cpuUsage(cpu);
    const turned = performance.eventLoopUtilization(loop);
    sum.user += used.user;
    sum.system += used.system;
    sum.active += turned.active;
    sum.idle += turned.idle;
  };
  const mark = (): void => {
    cpu = process.cpuUsage();
    loop = performance.eventLoopUtilization();
  };
  const probe: MeasureProbe = {
    reset() {
      Object.assign(sum, { user: 0, system: 0, active: 0, idle: 0 });
      delay.clear();
      delay.start();
      running = true;
      mark();
    },
    pause() {
      if (!running) return;
      take();
      delay.stop();
      running = false;
    },
    resume() {
      if (running) return;
      delay.start();
      running = true;
      mark();
    },
    read() {
      if (running) {
        take();
        mark();
      }
      const sorted = delay.sorted();
      const turned = sum.active + sum.idle;
      return {
        cpuUserUs: sum.user,
        cpuSystemUs: sum.system,
        loopDelayP50Ms: delayAt(sorted, 0.5),
        loopDelayP99Ms: delayAt(sorted, 0.99),
        loopDelayMaxMs: delayAt(sorted, 1),
        // Bun has the function but always answers 0.
        loopUtilisation: turned > 0 ? sum.active / turned : null,
        rssPeakBytes: process.resourceUsage().maxRSS * 1024,
        pid: process.pid,
      };
    },
    close: () => delay.stop(),
  };
  probe.reset();
  return probe;
}
