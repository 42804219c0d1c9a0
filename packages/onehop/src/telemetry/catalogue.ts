/**
 * Every metric there is. `docs/reference/metrics.md` is generated from this table, and what is
 * exposed is checked against it. Labels are configured names, fixed words and status classes: never
 * anything a caller sends.
 */
import { ownBoundsMs, waitBoundsMs } from './histogram.ts';

export interface MetricSpec {
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly labels: readonly string[];
  /** How the values of several workers become one. */
  readonly merge: 'sum' | 'min' | 'max';
  readonly help: string;
  /** Histograms only; milliseconds. */
  readonly boundsMs?: readonly number[];
}

const counter = (labels: string, help: string): MetricSpec => ({
  type: 'counter',
  labels: words(labels),
  merge: 'sum',
  help,
});
const gauge = (labels: string, help: string, merge: MetricSpec['merge'] = 'sum'): MetricSpec => ({
  type: 'gauge',
  labels: words(labels),
  merge,
  help,
});
const duration = (labels: string, help: string, boundsMs = waitBoundsMs): MetricSpec => ({
  type: 'histogram',
  labels: words(labels),
  merge: 'sum',
  help,
  boundsMs,
});
const words = (text: string): string[] => (text === '' ? [] : text.split(' '));

export const METRICS = {
  // Requests
  onehop_requests_total: counter(
    'route upstream status',
    'Requests that ended, by status class; 499: the caller left before its response was complete.',
  ),
  onehop_request_duration_seconds: duration(
    'route upstream',
    'From request head to the end of the response.',
  ),
  onehop_own_duration_seconds: duration(
    'route upstream',
    "The gateway's own part of that: without waiting for the upstream, the queue or the caller's body.",
    ownBoundsMs,
  ),
  onehop_in_flight_requests: gauge(
    'gt le',
    'Requests under way, by age in seconds: those that hang show.',
  ),
  onehop_request_body_bytes_total: counter('route upstream', 'Bytes of request bodies received.'),
  onehop_response_body_bytes_total: counter('route upstream', 'Bytes of response bodies sent.'),
  onehop_rejects_total: counter(
    'reason',
    'Requests the gateway answered itself with an error, by code, before any upstream was asked.',
  ),
  onehop_limit_refusals_total: counter(
    'limit',
    'What limits turned away (connections, requests, responses, retries), by the key that changes the limit.',
  ),
  onehop_errors_total: counter(
    'upstream code',
    'Requests that failed after an upstream was asked.',
  ),
  onehop_cancellations_total: counter(
    'upstream phase',
    'Callers that left, by what the gateway was doing: request, queue, waiting, response.',
  ),
  onehop_cancel_to_upstream_close_seconds: duration(
    'upstream',
    "From the caller's close to the close of the upstream connection.",
    ownBoundsMs,
  ),
  // Upstreams
  onehop_upstream_connect_duration_seconds: duration(
    'upstream',
    'Opening a connection: name, TCP, TLS.',
  ),
  onehop_upstream_head_duration_seconds: duration(
    'upstream',
    'From the last dispatch to the response head.',
  ),
  onehop_upstream_first_byte_duration_seconds: duration(
    'upstream',
    'From the last dispatch to the first byte of the response body.',
  ),
  onehop_stream_first_event_seconds: duration(
    'upstream',
    'Event streams: from the request head to the first bytes of the stream.',
  ),
  onehop_stream_event_gap_seconds: duration(
    'upstream',
    'Event streams: every pause between two reads that brought events.',
  ),
  onehop_upstream_pending: gauge('upstream', 'Requests under way to the upstream.'),
  onehop_queue_length: gauge('upstream', 'Requests that wait for a place.'),
  onehop_queue_wait_seconds: duration(
    'upstream',
    'How long those that had to wait for a place waited.',
  ),
  onehop_retries_total: counter(
    'upstream reason',
    'Attempts that failed and were made again at another target, by error code.',
  ),
  onehop_breaker_state: gauge('upstream', 'Circuit breaker: 0 closed, 1 open, 2 half open.', 'max'),
  // Targets
  onehop_target_pending: gauge('upstream target', 'Requests under way to the target.'),
  onehop_target_up: gauge(
    'upstream target',
    '1 when the target takes requests: healthy by its probes and not ejected.',
    'min',
  ),
  onehop_target_health_changes_total: counter(
    'upstream target to',
    'Changes of the verdict of active probes, to healthy or to unhealthy.',
  ),
  onehop_target_ejections_total: counter(
    'upstream target',
    'Times a target was taken out because requests to it failed in a row.',
  ),
  // Connection pools
  onehop_pool_connections: gauge(
    'upstream target state',
    'Upstream connections: opening, idle, busy.',
  ),
  onehop_pool_waiting: gauge('upstream target', 'Requests that wait for a connection.'),
  onehop_pool_opened_total: counter('upstream target', 'Upstream connections opened.'),
  onehop_pool_reused_total: counter('upstream target', 'Requests sent on a used connection.'),
  onehop_pool_discarded_total: counter('upstream target', 'Connections retired before use.'),
  onehop_pool_resends_total: counter(
    'upstream target',
    'Requests sent again to the same target because a reused connection had died.',
  ),
  // Downstream
  onehop_downstream_connections: gauge('', 'Open connections of callers.'),
  onehop_downstream_connections_total: counter('', 'Connections of callers accepted.'),
  onehop_downstream_connections_refused_total: counter(
    'reason',
    'Connections answered with 503 or 429 at once: for limits.connections, for connectionsPerAddress, while draining.',
  ),
  onehop_downstream_bytes_total: counter(
    'direction',
    'Bytes on the connections of callers: in, out.',
  ),
  onehop_protocol_errors_total: counter(
    '',
    'Requests that were malformed or late, answered before they reached a route.',
  ),
  // The gateway itself
  onehop_ready: gauge('', '1 while /ready says yes.', 'min'),
  onehop_reloads_total: counter('result', 'Configuration reloads: ok, failed.'),
  onehop_config_timestamp_seconds: gauge('', 'When the configuration in force was loaded.', 'max'),
  onehop_build_info: gauge('version runtime', 'Always 1.', 'max'),
  onehop_start_time_seconds: gauge('', 'When the process started, in seconds since 1970.', 'min'),
  onehop_workers: gauge('', 'Workers that run.', 'max'),
  onehop_worker_restarts_total: counter('', 'Workers started again because they had died.'),
  onehop_internal_errors_total: counter('', 'Bugs: exceptions where there may be none.'),
  onehop_access_log_dropped_total: counter('', 'Access log lines lost because the log was slow.'),
  process_resident_memory_bytes: gauge('', 'Memory in use, over all workers.'),
  process_cpu_seconds_total: counter('', 'CPU time used, over all workers.'),
  process_active_resources: gauge(
    '',
    'Sockets, timers and other handles that the runtime counts as open, over all workers (Node).',
  ),
  process_open_fds: gauge('', 'Open file descriptors, over all workers (Linux).'),
  process_max_fds: gauge('', 'Most file descriptors one process may open (Linux).', 'min'),
} as const satisfies Record<string, MetricSpec>;

export type MetricName = keyof typeof METRICS;
