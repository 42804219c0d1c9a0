/** What a server process of the study says about itself over a measured window. */
import { monitorEventLoopDelay, performance } from 'node:perf_hooks';

/** The JSON of `GET /_onehop/measure/`; the Python peer answers the same. */
export interface ApiMeasure {
  cpuUserUs: number;
  cpuSystemUs: number;
  /** Event-loop delay with the probe's own resolution taken off; null without a probe. */
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

export interface MeasureProbe {
  /** Starts a new window. */
  reset(): void;
  read(): ApiMeasure;
  close(): void;
}

/** Starts the probe; the first window begins now. */
export function startMeasureProbe(): MeasureProbe {
  const onBun = process.versions['bun'] !== undefined;
  // Bun's histogram holds the delay itself; Node's holds the interval, which includes the resolution.
  const ownMs = onBun ? 0 : resolutionMs;
  const delay = monitorEventLoopDelay({ resolution: resolutionMs });
  delay.enable();
  let cpu = process.cpuUsage();
  let utilisation = performance.eventLoopUtilization();
  const delayMs = (nanoseconds: number): number | null =>
    delay.max > 0 ? Math.max(0, nanoseconds / 1e6 - ownMs) : null;
  return {
    reset() {
      delay.reset();
      cpu = process.cpuUsage();
      utilisation = performance.eventLoopUtilization();
    },
    read() {
      const used = process.cpuUsage(cpu);
      const loop = performance.eventLoopUtilization(utilisation);
      return {
        cpuUserUs: used.user,
        cpuSystemUs: used.system,
        loopDelayP50Ms: delayMs(delay.percentile(50)),
        loopDelayP99Ms: delayMs(delay.percentile(99)),
        loopDelayMaxMs: delayMs(delay.max),
        // Bun has the function but always answers 0.
        loopUtilisation: loop.idle + loop.active > 0 ? loop.utilization : null,
        rssPeakBytes: process.resourceUsage().maxRSS * 1024,
        pid: process.pid,
      };
    },
    close: () => delay.disable(),
  };
}
