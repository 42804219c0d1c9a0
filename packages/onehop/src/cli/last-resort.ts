/** What a gateway that runs does about an error that nobody caught: it says so and goes on. */
import type { FaultReport } from '../core/index.ts';

/**
 * From now on nothing that is thrown into the runtime's hands, or rejected into nobody's, ends the
 * process: it is a bug, `report` hears of it, and everything else goes on. Nor does output that
 * nobody reads any more (EPIPE). Only for a process whose one purpose is to serve, and only once it
 * does: what fails before is for whoever started it.
 */
export function surviveFaults(report: FaultReport): void {
  const safely = (error: unknown, where: string): void => {
    try {
      report(error, where);
    } catch {
      // To throw in here would come back here.
    }
  };
  process.on('uncaughtException', (error) => safely(error, 'a callback nobody guards'));
  process.on('unhandledRejection', (reason) => safely(reason, 'a promise nobody waits for'));
}

/** Whoever read our output may be gone: what is written then is lost, and nothing else. */
export function surviveClosedOutput(): void {
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
}
