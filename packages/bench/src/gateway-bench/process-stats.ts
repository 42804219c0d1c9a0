/** CPU time and memory of a process and its children, as Linux keeps them. */
import { readdirSync, readFileSync } from 'node:fs';

/** Units of the times in /proc/PID/stat: USER_HZ is 100 on every Linux. */
const usPerTick = 10_000;

/** Fields of /proc/PID/stat behind the name, which may hold blanks and brackets. */
function statFields(pid: number): string[] {
  const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
  return text.slice(text.lastIndexOf(')') + 2).split(' ');
}

function childrenOf(pid: number): number[] {
  const found: number[] = [];
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    const text = readFileSync(`/proc/${pid}/task/${task}/children`, 'latin1').trim();
    if (text !== '') found.push(...text.split(' ').map(Number));
  }
  return found;
}

/** The process and everything it started that still runs. */
export function processTree(pid: number): number[] {
  return [pid, ...childrenOf(pid).flatMap(processTree)];
}

/**
 * User and system time in µs of a process, its living children and those it has waited for.
 * Reads run times of threads in nanoseconds where it can, for clock ticks are 10 ms.
 */
export function cpuUs(pid: number): number {
  return processTree(pid).reduce((sum, one) => sum + ownCpuUs(one), 0);
}

function ownCpuUs(pid: number): number {
  const fields = statFields(pid);
  const ticks = [11, 12, 13, 14].reduce((sum, at) => sum + Number(fields[at]), 0);
  const coarse = ticks * usPerTick;
  let fine = 0;
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    try {
      const [runNs] = readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'latin1').split(' ');
      fine += Number(runNs) / 1000;
    } catch {
      return coarse;
    }
  }
  // Threads and children that have ended are in the ticks only.
  return Math.abs(fine - coarse) < 200_000 && fine > 0 ? fine : coarse;
}

/** Resident bytes of the process and its children. */
export function rssBytes(pid: number): number {
  let sum = 0;
  for (const one of processTree(pid)) {
    const match = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${one}/status`, 'latin1'));
    sum += Number(match?.[1] ?? 0) * 1024;
  }
  return sum;
}

/** Whether this system keeps these figures. */
export function canMeasure(): boolean {
  try {
    return cpuUs(process.pid) > 0;
  } catch {
    return false;
  }
}
