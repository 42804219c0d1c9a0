/** Audits the Python peers through the API server they live in. */
import { launch } from '../api/launch.ts';
import { CliError } from '../cli-error.ts';
import type { PythonPeer, ReuseMode } from '../contestants/index.ts';
import { entryId, pythonLaunchCommand, pythonPeers } from '../contestants/index.ts';
import type { AuditResult } from '../results/types.ts';
import { messageCase } from './behaviours.ts';
import type { Driver } from './checks.ts';
import { auditConnectionsMax, auditSubject, auditTimeoutMs, startObserverFor } from './run.ts';

/** Every process takes about half a second of CPU to start: not all at once. */
const processesMax = 4;

interface ApiAnswer {
  status?: number;
  message?: string;
  error?: { message?: string };
}

/** One peer in one mode, in a server process of its own with an upstream of its own. */
async function auditPeer(
  peer: PythonPeer,
  reuse: ReuseMode,
  signal: AbortSignal | undefined,
): Promise<AuditResult[]> {
  const observer = await startObserverFor(peer);
  const server = await launch(
    pythonLaunchCommand({
      program: 'api',
      requestUrl: observer.baseUrl,
      reuse,
      clients: [peer.name],
      connectionsMax: auditConnectionsMax,
      timeoutMs: auditTimeoutMs,
      env: { ONEHOP_EXIT_WITH_PARENT: '1' },
    }),
  );
  const stop = () => void server.stop();
  if (signal?.aborted) stop();
  signal?.addEventListener('abort', stop, { once: true });
  const driver: Driver = {
    async getMessage() {
      const response = await fetch(`${server.url}send_request/${peer.name}/`);
      const answer = (await response.json()) as ApiAnswer;
      if (response.status === 502) throw new Error(answer.error?.message ?? 'no reason given');
      // Anything else that is not a message must not look like an error that surfaced.
      return answer.message ?? `status ${response.status}: ${JSON.stringify(answer)}`;
    },
  };
  try {
    return await auditSubject(entryId(peer.name, 'python', reuse), {
      driver,
      observer,
      asked: messageCase,
      reuse,
      protocol: peer.protocol,
      connectionsMax: auditConnectionsMax,
      timeoutMs: auditTimeoutMs,
    });
  } finally {
    signal?.removeEventListener('abort', stop);
    await server.stop();
    await observer.close();
  }
}

/** Audits the peers that are installed, in both modes; none of them: no results. */
export async function auditPython(
  names?: readonly string[],
  signal?: AbortSignal,
): Promise<AuditResult[]> {
  const { peers } = await pythonPeers();
  const jobs = peers
    .filter(({ name }) => names === undefined || names.includes(name))
    .flatMap((peer) => peer.modes.map((reuse) => ({ peer, reuse })));
  const results: AuditResult[][] = [];
  let next = 0;
  const work = async () => {
    for (let index = next++; index < jobs.length; index = next++) {
      const { peer, reuse } = jobs[index]!;
      if (signal?.aborted) throw new CliError('the fairness audit was broken off');
      results[index] = await auditPeer(peer, reuse, signal);
    }
  };
  await Promise.all(Array.from({ length: processesMax }, work));
  if (signal?.aborted) throw new CliError('the fairness audit was broken off');
  return results.flat();
}
