/** Facts about the machine that a reader needs to judge a result. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, release, totalmem, type } from 'node:os';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { RigFacts } from '../results/types.ts';

function output(command: string, args: readonly string[], cwd?: string): string | null {
  const result = spawnSync(command, args, { encoding: 'utf8', timeout: 5000, ...(cwd && { cwd }) });
  return result.status === 0 ? result.stdout.trim() : null;
}

function osName(): string {
  try {
    const text = readFileSync('/etc/os-release', 'utf8');
    return /^PRETTY_NAME="?([^"\n]+)"?$/m.exec(text)?.[1] ?? type();
  } catch {
    return type();
  }
}

/**
 * Commit of the tree this code runs from, `-dirty` when tracked files differ from it. Results do not
 * count: writing one does not change the code that the next one is measured with.
 */
function commit(): string | null {
  const here = dirname(fileURLToPath(import.meta.url));
  const head = output('git', ['rev-parse', '--short=12', 'HEAD'], here);
  if (head === null) return null;
  const code = ['--', ':(top)', ':(top,exclude)lab/results'];
  const changes = output('git', ['status', '--porcelain', '--untracked-files=no', ...code], here);
  return changes === '' ? head : `${head}-dirty`;
}

function ownVersion(): string {
  const manifest = new URL('../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }).version;
}

/** Version of a runtime's executable, without a leading `v`; null when it cannot be run. */
export function executableVersion(path: string | null): string | null {
  return path === null ? null : (output(path, ['--version'])?.replace(/^(v|Python )/, '') ?? null);
}

export interface RigRequest {
  nodeVersion: string;
  bunVersion: string | null;
  pythonVersion: string | null;
  generator: string;
}

export function rigFacts({
  nodeVersion,
  bunVersion,
  pythonVersion,
  generator,
}: RigRequest): RigFacts {
  const processors = cpus();
  return {
    cpuModel: processors[0]?.model.trim() || 'unknown',
    cores: processors.length,
    memoryBytes: totalmem(),
    os: osName(),
    kernel: release(),
    nodeVersion,
    bunVersion,
    pythonVersion,
    onehopVersion: ownVersion(),
    commit: commit(),
    generator,
  };
}
