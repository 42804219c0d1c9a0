/** One gateway in this process, with its metrics and its access log. */
import { type FaultReport, OnehopError } from '../core/index.ts';
import {
  AccessLog,
  connectionsCeilingFor,
  connectionsMaxFor,
  Gateway,
  type GatewayConfig,
  gatewayStatus,
  MetricsObserver,
  openFilesMax,
  type ProcessFacts,
} from '../gateway/index.ts';
import type { Snapshot } from '../telemetry/index.ts';
import type { Running } from './running.ts';
import { version } from './version.ts';

/** A sentence when the configured bound is beyond what the descriptors allow; else null. */
export function descriptorWarning(config: GatewayConfig): string | null {
  const openFiles = openFilesMax();
  if (openFiles === null) return null;
  const { connectionsMax } = config.limits;
  const safe = connectionsMaxFor(openFiles);
  if (connectionsMax !== null && connectionsMax > safe) {
    const ceiling = connectionsCeilingFor(openFiles);
    const taken = connectionsMax > ceiling ? `, and no more than ${ceiling} are taken` : '';
    return `limits.connections is ${connectionsMax}, but ${openFiles} open files allow ${safe} with an upstream connection each${taken}: raise \`ulimit -n\``;
  }
  if (connectionsMax === null && openFiles < 1024) {
    return `only ${openFiles} open files are allowed: at most ${safe} connections; raise \`ulimit -n\``;
  }
  return null;
}

export class GatewayProcess implements Running {
  readonly gateway: Gateway;
  readonly observer: MetricsObserver;
  readonly roll = null;
  readonly faulted: FaultReport = (error, where) =>
    this.gateway.observer.onInternalError(error, where);

  /** Throws what opening the access log throws. */
  constructor(
    config: GatewayConfig,
    options: { reusePort?: boolean; descriptors?: readonly number[] } = {},
  ) {
    const { accessLog } = config;
    this.observer = new MetricsObserver({
      version: version(),
      accessLog: accessLog === 'off' ? null : openLog(accessLog),
      onLimit: (line) => process.stderr.write(`onehop: ${line}\n`),
    });
    this.gateway = new Gateway(config, {
      observer: this.observer,
      reusePort: options.reusePort ?? false,
      descriptors: options.descriptors ?? [],
    });
  }

  async start(): Promise<readonly string[]> {
    const listeners = await this.gateway.listen();
    return listeners.map(({ host, port, path }) => {
      if (path !== null) return `unix:${path}`;
      return `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
    });
  }

  isReady(): boolean {
    return this.gateway.isReady();
  }

  snapshot(): Snapshot {
    return this.observer.snapshot(this.gateway);
  }

  status(facts: ProcessFacts): object {
    return gatewayStatus(this.gateway, facts);
  }

  async apply(config: GatewayConfig): Promise<string | null> {
    const { observer, gateway } = this;
    const before = gateway.tables.config.accessLog;
    let log: AccessLog | null = null;
    try {
      if (config.accessLog !== before && config.accessLog !== 'off') {
        log = openLog(config.accessLog);
      }
      gateway.reload(config);
    } catch (error) {
      void log?.close();
      observer.reloadsFailed++;
      return (error as Error).message;
    }
    if (config.accessLog !== before) {
      void observer.accessLog?.close();
      observer.accessLog = log;
    }
    observer.reloadsOk++;
    observer.configLoadedMs = Date.now();
    return null;
  }

  reloadFailed(): void {
    this.observer.reloadsFailed++;
  }

  reopenLogs(): void {
    this.observer.accessLog?.reopen();
  }

  async drain(): Promise<void> {
    await this.gateway.close();
    await this.observer.accessLog?.close();
  }

  kill(): void {}
}

function openLog(where: string): AccessLog {
  try {
    return AccessLog.open(where);
  } catch (error) {
    throw new OnehopError(
      'ARGUMENT_INVALID',
      `the access log ${where} cannot be opened: ${(error as Error).message}`,
      { phase: 'config', cause: error },
    );
  }
}
