/** What else runs on the machine while a study measures: its own processes do not count. */
import { readFileSync } from 'node:fs';

/** Ticks per second of the figures in /proc: fixed in the ABI of Linux. */
const TICKS_PER_S = 100;

/** Busy ticks of all cores: user, nice, system, irq, softirq. */
function machineTicks(): number {
  const fields = readFileSync('/proc/stat', 'latin1').split('\n', 1)[0]!.split(/\s+/).map(Number);
  return [1, 2, 3, 6, 7].reduce((sum, index) => sum + fields[index]!, 0);
}

/** User and system ticks of a process; 0 when it is gone. */
function processTicks(pid: number): number {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return Number(fields[11]) + Number(fields[12]);
  } catch {
    return 0;
  }
}

/**
 * Starts to watch. `read` answers how many cores were kept busy by others since then; null where
 * /proc does not tell. Processes of ours that end meanwhile would count as others: watch while none
 * does.
 */
export function watchOthers(ours: readonly number[]): { read(): number | null } {
  const pids = [process.pid, ...ours];
  const ownTicks = (): number => pids.reduce((sum, pid) => sum + processTicks(pid), 0);
  let machine: number;
  try {
    machine = machineTicks();
  } catch {
    return { read: () => null };
  }
  const own = ownTicks();
  const startedMs = performance.now();
  return {
    read() {
      const seconds = (performance.now() - startedMs) / 1000;
      const ticks = machineTicks() - machine - (ownTicks() - own);
      return seconds > 0 ? Math.max(0, ticks / TICKS_PER_S / seconds) : null;
    },
  };
}
