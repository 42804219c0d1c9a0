/**
 * Connects that their caller gave up. `Bun.connect` cannot be taken back: the descriptor stays until
 * the peer answers or the kernel gives up, two minutes for a peer that drops packets. So that a deaf
 * target cannot use up every descriptor, only a few per target are left behind; beyond that a dial
 * first asks with a socket of `node:net`, which can be closed while it connects.
 */
import { connect, type Socket as NetSocket } from 'node:net';

/** So many connects to one target may be left to the kernel. */
const abandonedMax = 4;

const counts = new Map<string, number>();

export function connectAbandoned(target: string): void {
  counts.set(target, (counts.get(target) ?? 0) + 1);
}

/** The kernel has an answer to a connect that was abandoned. */
export function abandonedSettled(target: string): void {
  const left = (counts.get(target) ?? 0) - 1;
  if (left > 0) counts.set(target, left);
  else counts.delete(target);
}

export const mustAskFirst = (target: string): boolean =>
  counts.size > 0 && (counts.get(target) ?? 0) >= abandonedMax;

/** Calls `answered` when the peer takes connections, `failed` when it does not. */
export function askFirst(
  options: { host: string; port: number },
  answered: () => void,
  failed: (error: unknown) => void,
): NetSocket {
  const probe = connect(options);
  probe.once('connect', () => {
    probe.destroy();
    answered();
  });
  probe.once('error', failed);
  return probe;
}
