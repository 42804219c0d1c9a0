/** Connections on their way from the primary of `node:cluster` to a worker that dies. */
import type { ChildProcess } from 'node:child_process';
import cluster from 'node:cluster';

/** What cluster's two sides tell each other; `seq` is answered by `ack`. */
interface ClusterMessage {
  cmd?: string;
  act?: string;
  key?: unknown;
  seq?: number | string;
  ack?: number | string;
  accepted?: boolean;
}

interface HandedOver {
  /** Which listener accepted it. */
  readonly key: unknown;
  readonly handle: { close(): void };
}

const command = 'NODE_CLUSTER';
let next = 0;
/** Who did not take a connection that is handed on by us. */
const refusers = new WeakMap<HandedOver['handle'], Set<ChildProcess>>();

/** To a worker that was not asked yet; without one the connection is closed. */
function handOn({ key, handle }: HandedOver, from: ChildProcess): void {
  const asked = (refusers.get(handle) ?? new Set()).add(from);
  refusers.set(handle, asked);
  const worker = Object.values(cluster.workers ?? {}).find(
    (each) => each?.isConnected() && !asked.has(each.process),
  );
  if (worker === undefined) {
    handle.close();
    return;
  }
  // Cluster numbers its own: it knows no such answer and passes over it.
  const message: ClusterMessage = { cmd: command, act: 'newconn', key, seq: `again-${next++}` };
  (worker.process.send as (...given: unknown[]) => boolean)(message, handle);
}

/**
 * `node:cluster` waits for ever for the word of a worker that it handed a connection to: of one that
 * is killed before it said so, the connection stays open and nobody serves it. What `child` has not
 * taken when it ends is handed to another worker instead; without another it is closed.
 *
 * What cluster's sides tell each other is not documented: messages that do not look as we know them are
 * passed on as they are and followed by nothing, which leaves what cluster does by itself. A handle that
 * is closed twice is closed once, and one that is on its way to a child is kept by the runtime.
 */
export function handOnWhenGone(child: ChildProcess): void {
  const unanswered = new Map<number | string, HandedOver>();
  const send = child.send as (...given: unknown[]) => boolean;
  child.send = (...given: unknown[]): boolean => {
    const { cmd, act, key, seq } = (given[0] ?? {}) as ClusterMessage;
    if (cmd === command && act === 'newconn' && seq !== undefined) {
      unanswered.set(seq, { key, handle: given[1] as HandedOver['handle'] });
    }
    return send.apply(child, given);
  };
  child.on('internalMessage', (message: ClusterMessage | null) => {
    const { cmd, ack, accepted } = message ?? {};
    const handed = cmd === command && ack !== undefined ? unanswered.get(ack) : undefined;
    if (handed === undefined) return;
    unanswered.delete(ack!);
    // Its own connections cluster closes or hands on itself.
    if (typeof ack === 'number') return;
    if (accepted === true) handed.handle.close();
    else handOn(handed, child);
  });
  const settle = (): void => {
    // What it said last may not be read yet. There is no event for it: with a connection in its
    // hands the channel of a dead child never says that it is disconnected.
    if (child.connected) {
      setTimeout(settle, 5);
      return;
    }
    for (const handed of unanswered.values()) handOn(handed, child);
    unanswered.clear();
  };
  child.once('exit', settle);
}
