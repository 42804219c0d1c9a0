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

interface ProcessCpu {
  /** Own time and that of the children it has waited for, in clock ticks of 10 ms. */
  readonly ticksUs: number;
  readonly waitedTicksUs: number;
  /** Run time of each thread in µs, from nanoseconds; null where the kernel does not keep it. */
  readonly threads: ReadonlyMap<string, number> | null;
}

/** What {@link cpuBetween} compares: a process and everything it started that still runs. */
export type CpuSnapshot = ReadonlyMap<number, ProcessCpu>;

export function cpuSnapshot(pid: number): CpuSnapshot {
  return new Map(processTree(pid).map((one) => [one, processCpu(one)]));
}

function processCpu(pid: number): ProcessCpu {
  const fields = statFields(pid);
  const ticksUs = (from: number): number =>
    (Number(fields[from]) + Number(fields[from + 1])) * usPerTick;
  return { ticksUs: ticksUs(11), waitedTicksUs: ticksUs(13), threads: threadTimes(pid) };
}

function threadTimes(pid: number): Map<string, number> | null {
  const threads = new Map<string, number>();
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    try {
      const [runNs] = readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'latin1').split(' ');
      threads.set(task, Number(runNs) / 1000);
    } catch {
      return null;
    }
  }
  return threads;
}

/**
 * User and system time in µs that a process and its children took from one snapshot to the next. In
 * nanoseconds where all threads are still there; one that has ended is in the ticks only, and then all
 * of its process is read from those, at both ends: two clocks may differ by more than a window holds.
 */
export function cpuBetween(before: CpuSnapshot, after: CpuSnapshot): number {
  let sumUs = 0;
  for (const [pid, now] of after) sumUs += processBetween(before.get(pid), now);
  return sumUs;
}

function processBetween(before: ProcessCpu | undefined, now: ProcessCpu): number {
  const waitedUs = now.waitedTicksUs - (before?.waitedTicksUs ?? 0);
  const then = before === undefined ? new Map<string, number>() : before.threads;
  return waitedUs + (threadsBetween(then, now.threads) ?? now.ticksUs - (before?.ticksUs ?? 0));
}

/** Null when the threads do not tell it all. */
function threadsBetween(then: ProcessCpu['threads'], now: ProcessCpu['threads']): number | null {
  if (then === null || now === null) return null;
  for (const thread of then.keys()) if (!now.has(thread)) return null;
  let us = 0;
  for (const [thread, runUs] of now) us += runUs - (then.get(thread) ?? 0);
  return us;
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
    return cpuBetween(new Map(), cpuSnapshot(process.pid)) > 0;
  } catch {
    return false;
  }
}
