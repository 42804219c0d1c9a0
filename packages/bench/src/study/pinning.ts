/**
 * Which process runs on which core. Left to the scheduler, generator and upstream push the process
 * under test from core to core, and its CPU per request swings by half from one moment to the next;
 * on a core of its own it stays within a few percent.
 */
import { spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';

export interface Pinning {
  /**
   * Words in front of the command of a process under test. Two are started at once, each on a core of
   * its own (`lane` 0 or 1): runtimes count the cores they may use when they start, and that is one.
   */
  api(lane: number): readonly string[];
  /** The same for generator and upstream. */
  rest: readonly string[];
  /** For the report. */
  text: string;
  /** Lets a running process have all cores, only that of the API, or only those of the rest. */
  move(pid: number, to: 'all' | 'api' | 'rest'): void;
}

/** Null where there is one core only, no Linux or no `taskset`. */
export function findPinning(cores = availableParallelism()): Pinning | null {
  if (process.platform !== 'linux' || cores < 2) return null;
  const others = cores === 2 ? '1' : `1-${cores - 1}`;
  // Fails as well where the machine's cores are numbered otherwise, in a container for example.
  for (const list of ['0', others]) {
    if (spawnSync('taskset', ['-c', list, 'true'], { stdio: 'ignore' }).status !== 0) return null;
  }
  return {
    api: (lane) => ['taskset', '-c', String(lane % 2)],
    rest: ['taskset', '-c', others],
    text: `API on core 0, generator and upstream on ${others}; the direct control's generator on any`,
    move(pid, to) {
      const list = { all: `0-${cores - 1}`, api: '0', rest: others }[to];
      spawnSync('taskset', ['-apc', list, String(pid)], { stdio: 'ignore' });
    },
  };
}

/** A command with words in front of it. */
export function launchedBy<Launched extends { command: string; args: readonly string[] }>(
  words: readonly string[] | undefined,
  launched: Launched,
): Launched {
  const [first, ...rest] = words ?? [];
  if (first === undefined) return launched;
  return { ...launched, command: first, args: [...rest, launched.command, ...launched.args] };
}
