/** What the operating system says about this process; Linux tells more than others. */
import { readdirSync, readFileSync } from 'node:fs';
import type { SnapshotWriter } from '../telemetry/index.ts';

/** Soft limit of open files; null where the system does not say. */
export function openFilesMax(): number | null {
  try {
    const match = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'));
    return match === null ? null : Number(match[1]);
  } catch {
    return null;
  }
}

/** A fifth of the descriptors stays free for files, probes and the admin listener. */
const usable = (openFiles: number): number => Math.max(2, Math.floor(openFiles * 0.8));

/** Downstream connections a process takes by default: each may need an upstream one as well. */
export const connectionsMaxFor = (openFiles: number): number => usable(openFiles) >> 1;

/**
 * Downstream connections a process takes when the configuration asks for more: most callers that
 * keep a connection are idle, but a listener without descriptors keeps Bun's loop spinning. Refused
 * ones that linger, a quarter as many, have their place above this.
 */
export const connectionsCeilingFor = (openFiles: number): number =>
  Math.max(1, Math.floor(openFiles * 0.52));

export function processGauges(out: SnapshotWriter): void {
  const { user, system } = process.cpuUsage();
  out.number('process_resident_memory_bytes', process.memoryUsage.rss());
  out.number('process_cpu_seconds_total', (user + system) / 1e6);
  out.number('process_active_resources', process.getActiveResourcesInfo().length);
  const max = openFilesMax();
  if (max === null) return;
  out.number('process_max_fds', max);
  try {
    out.number('process_open_fds', readdirSync('/proc/self/fd').length);
  } catch {
    // Not readable in some sandboxes.
  }
}
