/** The observer that counts: fills the metrics, hands finished exchanges to the access log. */
import { FaultLog, type FaultReport, type OnehopError } from '../core/index.ts';
import type { Refusal } from '../server/index.ts';
import { type Snapshot, SnapshotWriter } from '../telemetry/index.ts';
import type { AccessLog } from './access-log.ts';
import type { EventStream, GatewayExchange } from './exchange.ts';
import type { Gateway } from './gateway.ts';
import type { LimitReport } from './limits/index.ts';
import { CancelPhase, RouteSeries, UpstreamSeries } from './metrics-series.ts';
import type { GatewayObserver } from './observer.ts';
import { processGauges } from './process-gauges.ts';
import type { Member, Upstream } from './upstream.ts';

/** Ages of requests under way, in seconds. */
const AGES = [1, 5, 15, 60, 300, 900] as const;

export interface MetricsOptions {
  version: string;
  accessLog?: AccessLog | null;
  /** Told in a line what limits turn away, at most every ten seconds for each; default: nobody. */
  onLimit?: (line: string) => void;
  /** Told of bugs beyond counting them; default: a line on stderr, for each kind one in ten seconds. */
  onInternalError?: FaultReport;
}

export class MetricsObserver implements GatewayObserver {
  accessLog: AccessLog | null;
  reloadsOk = 0;
  reloadsFailed = 0;
  configLoadedMs = Date.now();
  readonly #version: string;
  readonly #startedMs = Date.now();
  readonly #onInternalError: FaultReport;
  readonly #onLimit: (line: string) => void;
  readonly #routes = new Map<string, RouteSeries>();
  readonly #upstreams = new Map<string, UpstreamSeries>();
  readonly #unrouted = new RouteSeries('', '');
  readonly #rejects = new Map<string, number>();
  #internalErrors = 0;

  constructor(options: MetricsOptions) {
    this.#version = options.version;
    this.accessLog = options.accessLog ?? null;
    this.#onLimit = options.onLimit ?? (() => {});
    this.#onInternalError = options.onInternalError ?? new FaultLog().add;
  }

  // ---- The data path --------------------------------------------------------------------------

  onFinish(exchange: GatewayExchange): void {
    const endMs = exchange.endMs === 0 ? exchange.gateway.nowMs() : exchange.endMs;
    const { downstream, route, error } = exchange;
    const series = route === null ? this.#unrouted : this.#ofRoute(exchange);
    const totalMs = endMs - exchange.startMs;
    const left = error !== null && error.code === 'ABORTED';
    const { status } = downstream;
    series.statuses[left ? 0 : status >= 100 && status < 600 ? (status / 100) | 0 : 5]!++;
    series.duration.record(totalMs);
    series.own.record(ownMs(exchange, totalMs));
    series.requestBytes += downstream.requestBytes;
    series.responseBytes += downstream.responseBytes;
    if (exchange.upstream !== null) this.#countUpstream(exchange, exchange.upstream, left);
    if (exchange.upstreamStatus === 0 && !left) this.#countFailure(exchange);
    if (this.accessLog !== null) this.accessLog.add(exchange, totalMs);
  }

  #countUpstream(exchange: GatewayExchange, upstream: Upstream, left: boolean): void {
    const series = this.#ofUpstream(upstream);
    const { dispatchedMs, headMs, firstByteMs } = exchange;
    if (headMs > 0) series.head.record(headMs - dispatchedMs);
    if (firstByteMs > 0) series.firstByte.record(firstByteMs - dispatchedMs);
    if (exchange.queuedMs > 0) series.queueWait.record(exchange.queueWaitMs);
    if (left) series.cancels[cancelPhase(exchange)]!++;
    else if (exchange.error !== null && exchange.attempts > 0) {
      series.errors.add(exchange.error.code);
    }
  }

  #countFailure(exchange: GatewayExchange): void {
    if (exchange.attempts > 0) return;
    const reason = exchange.refusal ?? exchange.error?.code;
    if (reason === undefined) return;
    this.#rejects.set(reason, (this.#rejects.get(reason) ?? 0) + 1);
  }

  onRefused(refusal: Refusal): void {
    const { code } = refusal.error;
    if (code !== 'ABORTED') this.#rejects.set(code, (this.#rejects.get(code) ?? 0) + 1);
    if (this.accessLog !== null) this.accessLog.addRefusal(refusal);
  }

  onRetry(exchange: GatewayExchange, error: OnehopError): void {
    this.#ofUpstream(exchange.upstream!).retries.add(error.code);
  }

  onStreamRead(exchange: GatewayExchange, stream: EventStream, nowMs: number): void {
    const series = this.#ofUpstream(exchange.upstream!);
    const { lastByteMs } = stream;
    if (lastByteMs === 0) series.firstEvent.record(nowMs - exchange.startMs);
    else series.eventGap.record(nowMs - lastByteMs);
  }

  onCancel(exchange: GatewayExchange, nowMs: number): void {
    this.#ofUpstream(exchange.upstream!).cancelClose.record(nowMs - exchange.cancelledMs);
  }

  onConnect(upstream: string, durationMs: number): void {
    this.#named(upstream).connect.record(durationMs);
  }

  onEjection(upstream: Upstream, member: Member): void {
    // By the configured name: addresses come and go, and each would leave a series behind.
    increment(this.#ofUpstream(upstream).ejections, member.config.label);
  }

  onHealth(upstream: Upstream, member: Member, healthy: boolean): void {
    const series = this.#ofUpstream(upstream);
    const { label } = member.config;
    increment(healthy ? series.turnedHealthy : series.turnedUnhealthy, label);
  }

  onLimit(report: LimitReport): void {
    this.#onLimit(report.text);
  }

  onInternalError(error: unknown, where: string): void {
    this.#internalErrors++;
    this.#onInternalError(error, where);
  }

  #ofRoute(exchange: GatewayExchange): RouteSeries {
    const route = exchange.route!;
    if (route.series !== null) return route.series as RouteSeries;
    // Found by name, so that counters go on over a reload.
    const upstream = route.upstream.name;
    const key = `${route.label} ${upstream}`;
    let series = this.#routes.get(key);
    if (series === undefined) {
      series = new RouteSeries(route.label, upstream);
      this.#routes.set(key, series);
    }
    route.series = series;
    return series;
  }

  #ofUpstream(upstream: Upstream): UpstreamSeries {
    upstream.series ??= this.#named(upstream.name);
    return upstream.series as UpstreamSeries;
  }

  #named(upstream: string): UpstreamSeries {
    let series = this.#upstreams.get(upstream);
    if (series === undefined) {
      series = new UpstreamSeries(upstream);
      this.#upstreams.set(upstream, series);
    }
    return series;
  }

  // ---- The scrape -----------------------------------------------------------------------------

  /** All metrics now. Gauges are read where they live: nothing is kept twice. */
  snapshot(gateway: Gateway): Snapshot {
    const out = new SnapshotWriter();
    this.#unrouted.write(out);
    for (const series of this.#routes.values()) series.write(out);
    for (const series of this.#upstreams.values()) series.write(out);
    for (const [reason, count] of this.#rejects) out.number('onehop_rejects_total', count, reason);
    for (const [key, total] of gateway.limitReporter.totals()) {
      out.number('onehop_limit_refusals_total', total, key);
    }
    writeAges(out, gateway);
    for (const upstream of gateway.tables.upstreams.values()) writeUpstream(out, gateway, upstream);
    writeDownstream(out, gateway);
    out.number('onehop_ready', gateway.isReady() ? 1 : 0);
    out.number('onehop_reloads_total', this.reloadsOk, 'ok');
    out.number('onehop_reloads_total', this.reloadsFailed, 'failed');
    out.number('onehop_config_timestamp_seconds', this.configLoadedMs / 1000);
    out.number('onehop_build_info', 1, this.#version, runtimeName());
    out.number('onehop_start_time_seconds', this.#startedMs / 1000);
    out.number('onehop_internal_errors_total', this.#internalErrors);
    out.number('onehop_access_log_dropped_total', this.accessLog?.dropped ?? 0);
    processGauges(out);
    return out.snapshot;
  }
}

export const runtimeName = (): string =>
  process.versions['bun'] === undefined
    ? `node ${process.versions.node}`
    : `bun ${process.versions['bun']}`;

const increment = (counts: Map<string, number>, key: string): void => {
  counts.set(key, (counts.get(key) ?? 0) + 1);
};

/** Total without the upstream, the queue, pauses between attempts, and the caller's sending of its body. */
export function ownMs(exchange: GatewayExchange, totalMs: number): number {
  const bodyMs = exchange.bodyEndMs > 0 ? exchange.bodyEndMs - exchange.startMs : 0;
  const pausedMs = exchange.retrying === null ? 0 : exchange.retrying.pausedMs;
  return totalMs - exchange.upstreamMs - exchange.queueWaitMs - pausedMs - bodyMs;
}

function cancelPhase(exchange: GatewayExchange): CancelPhase {
  if (exchange.downstream.responseStarted) return CancelPhase.Response;
  if (exchange.attempts > 0) return CancelPhase.Waiting;
  return exchange.queuedMs > 0 ? CancelPhase.Queue : CancelPhase.Request;
}

function writeAges(out: SnapshotWriter, gateway: Gateway): void {
  const nowMs = gateway.nowMs();
  const counts = new Float64Array(AGES.length + 1);
  gateway.server.forEachExchange((downstream) => {
    const exchange = downstream.state as GatewayExchange | undefined;
    if (exchange === undefined) return;
    const seconds = (nowMs - exchange.startMs) / 1000;
    const at = AGES.findIndex((age) => seconds <= age);
    counts[at === -1 ? AGES.length : at]!++;
  });
  counts.forEach((count, index) => {
    const gt = String(AGES[index - 1] ?? 0);
    out.number('onehop_in_flight_requests', count, gt, String(AGES[index] ?? '+Inf'));
  });
}

function writeUpstream(out: SnapshotWriter, gateway: Gateway, upstream: Upstream): void {
  const { name } = upstream;
  out.number('onehop_upstream_pending', upstream.pending, name);
  out.number('onehop_queue_length', upstream.queue.length, name);
  if (upstream.breaker !== null) {
    out.number('onehop_breaker_state', upstream.breaker.state, name);
  }
  // An address that left its name and came back while it still has something to end is there twice.
  const byLabel = new Map<string, Member[]>();
  for (const member of upstream.members) {
    if (member.gone) continue;
    byLabel.set(member.label, [...(byLabel.get(member.label) ?? []), member]);
  }
  for (const [label, members] of byLabel) writeTarget(out, gateway, name, label, members);
}

function writeTarget(
  out: SnapshotWriter,
  gateway: Gateway,
  name: string,
  label: string,
  members: readonly Member[],
): void {
  const stats = members.map(({ origin }) => origin.stats());
  type Stats = (typeof stats)[number];
  const sum = (of: (one: Stats) => number): number => stats.reduce((all, one) => all + of(one), 0);
  const pending = members.reduce((all, member) => all + member.pending, 0);
  const isUp = members.some((member) => member.isUp(gateway.nowMs()));
  out.number('onehop_target_pending', pending, name, label);
  out.number('onehop_target_up', isUp ? 1 : 0, name, label);
  for (const state of ['opening', 'idle', 'busy'] as const) {
    const count = sum(({ connections }) => connections[state]);
    out.number('onehop_pool_connections', count, name, label, state);
  }
  for (const [metric, key] of [
    ['onehop_pool_waiting', 'waiting'],
    ['onehop_pool_opened_total', 'opened'],
    ['onehop_pool_reused_total', 'reused'],
    ['onehop_pool_discarded_total', 'discarded'],
  ] as const) {
    out.number(
      metric,
      sum(({ connections }) => connections[key]),
      name,
      label,
    );
  }
  out.number(
    'onehop_pool_resends_total',
    sum(({ retries }) => retries),
    name,
    label,
  );
}

function writeDownstream(out: SnapshotWriter, gateway: Gateway): void {
  const { counters } = gateway.server;
  out.number('onehop_downstream_connections', counters.connectionsOpen);
  out.number('onehop_downstream_connections_total', counters.connectionsOpened);
  const { connectionsRefused, connectionsRefusedPerAddress, connectionsRefusedClosing } = counters;
  const refused = 'onehop_downstream_connections_refused_total';
  out.number(refused, connectionsRefusedPerAddress, 'connectionsPerAddress');
  out.number(refused, connectionsRefusedClosing, 'draining');
  out.number(
    refused,
    connectionsRefused - connectionsRefusedPerAddress - connectionsRefusedClosing,
    'connections',
  );
  out.number('onehop_downstream_bytes_total', counters.bytesIn, 'in');
  out.number('onehop_downstream_bytes_total', counters.bytesOut, 'out');
  out.number('onehop_protocol_errors_total', counters.protocolErrors);
}
