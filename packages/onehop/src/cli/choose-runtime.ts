/** Which runtime the gateway runs on. Bun spends less CPU per event; nothing requires it. */
import { spawnSync } from 'node:child_process';
import { findBun } from './find-bun.ts';

export type RuntimeChoice = 'auto' | 'node' | 'bun';

export interface ChosenRuntime {
  /** The Bun to run workers on; null: this very runtime. */
  readonly bun: string | null;
  /** For people: which one and why. */
  readonly text: string;
}

const bunMin = [1, 4] as const;

function isRecent(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major > bunMin[0] || (major === bunMin[0] && minor >= bunMin[1]);
}

/**
 * A sentence instead of a choice when the wish cannot be met. `here`: in this very process, so only
 * its own runtime will do.
 */
export function chooseRuntime(wish: RuntimeChoice, here = false): ChosenRuntime | string {
  const own = process.versions['bun'];
  if (own !== undefined) {
    if (wish === 'node') return '--runtime node: start it with node, not with bun';
    return { bun: null, text: `bun ${own}` };
  }
  const node = `node ${process.versions.node}`;
  if (wish === 'bun' && here) return '--single-process on Bun: start it with bun, not with node';
  if (wish === 'node' || here) return { bun: null, text: node };
  const bun = findBun();
  if (bun === null) {
    if (wish === 'bun') return '--runtime bun: no Bun was found; install it or set ONEHOP_BUN';
    return { bun: null, text: `${node}; with Bun installed it would need less CPU` };
  }
  const { stdout, status } = spawnSync(bun, ['--version'], { encoding: 'utf8' });
  const version = status === 0 ? stdout.trim() : '';
  if (version !== '' && isRecent(version)) return { bun, text: `bun ${version}` };
  const found = version === '' ? `${bun} does not run` : `bun ${version} is too old`;
  if (wish === 'bun') return `--runtime bun: ${found}, ${bunMin.join('.')} or later is needed`;
  return { bun: null, text: `${node}; ${found}` };
}
