/** What a supervisor and its workers say to each other, as JSON over the channel of the child. */
import type { GatewayConfig, ProcessFacts } from '../gateway/index.ts';
import type { Snapshot } from '../telemetry/index.ts';

export type ToWorker =
  /** `descriptors`: inherited sockets, one for each address; none where the port is shared. */
  | { type: 'start'; config: GatewayConfig; descriptors: readonly number[] }
  | { type: 'apply'; id: number; config: GatewayConfig }
  | { type: 'snapshot'; id: number }
  | { type: 'status'; id: number; facts: ProcessFacts }
  | { type: 'ready'; id: number }
  | { type: 'reload-failed' }
  | { type: 'reopen' }
  | { type: 'drain' };

export type FromWorker =
  /** It listens to messages now; what comes earlier is lost in a cluster. */
  | { type: 'hello' }
  | { type: 'listening' }
  | { type: 'failed'; message: string }
  | { type: 'answer'; id: number; value: unknown }
  /** Last words: the counters that outlive it. */
  | { type: 'leaving'; snapshot: Snapshot };
