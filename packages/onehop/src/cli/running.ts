/** What `serve` drives: one gateway in this process, or a supervisor with workers. */
import type { FaultReport } from '../core/index.ts';
import type { GatewayConfig, ProcessFacts } from '../gateway/index.ts';
import type { Snapshot } from '../telemetry/index.ts';

export interface Running {
  /** Opens the listeners; resolves to their addresses. Rejects with OnehopError. */
  start(): Promise<readonly string[]>;
  isReady(): boolean | Promise<boolean>;
  snapshot(): Snapshot | Promise<Snapshot>;
  status(facts: ProcessFacts): object | Promise<object>;
  /** Puts a checked configuration in force. Resolves to what went wrong, or null. */
  apply(config: GatewayConfig): Promise<string | null>;
  /** A reload that failed before `apply`: counted. */
  reloadFailed(): void;
  reopenLogs(): void;
  /** Something threw in this process that nobody caught: counted and said. */
  faulted: FaultReport;
  /** Replaces the workers one after the other; null where there are none. */
  roll: ((config: GatewayConfig) => Promise<string | null>) | null;
  /** Ends well: see the `drain` of the configuration. */
  drain(): Promise<void>;
  /** Ends now. */
  kill(): void;
}

/** Parts of the configuration that a reload cannot change in a running process. */
const FIXED = ['listen', 'admin', 'workers', 'limits'] as const;

/** Which parts changed although they need a restart to take effect. */
export function needsRestart(old: GatewayConfig, next: GatewayConfig): string[] {
  return FIXED.filter((key) => JSON.stringify(old[key]) !== JSON.stringify(next[key]));
}
