/** The counters of one route and of one upstream: numbers in typed arrays, found without a look-up. */
import { ERRORS, type ErrorCode } from '../core/index.ts';
import { Histogram, ownBoundsMs, type SnapshotWriter, waitBoundsMs } from '../telemetry/index.ts';

/** Status classes as they are counted; index 0 is the caller that left. */
const STATUS_CLASSES = ['499', '1xx', '2xx', '3xx', '4xx', '5xx'] as const;

export class RouteSeries {
  readonly route: string;
  readonly upstream: string;
  readonly statuses = new Float64Array(STATUS_CLASSES.length);
  readonly duration = new Histogram(waitBoundsMs);
  readonly own = new Histogram(ownBoundsMs);
  requestBytes = 0;
  responseBytes = 0;

  constructor(route: string, upstream: string) {
    this.route = route;
    this.upstream = upstream;
  }

  write(out: SnapshotWriter): void {
    const { route, upstream } = this;
    STATUS_CLASSES.forEach((status, index) => {
      const count = this.statuses[index]!;
      if (count > 0) out.number('onehop_requests_total', count, route, upstream, status);
    });
    out.histogram('onehop_request_duration_seconds', this.duration, route, upstream);
    out.histogram('onehop_own_duration_seconds', this.own, route, upstream);
    out.number('onehop_request_body_bytes_total', this.requestBytes, route, upstream);
    out.number('onehop_response_body_bytes_total', this.responseBytes, route, upstream);
  }
}

/** What the gateway was doing when its caller left. */
export const CancelPhase = { Request: 0, Queue: 1, Waiting: 2, Response: 3 } as const;
export type CancelPhase = (typeof CancelPhase)[keyof typeof CancelPhase];
export const CANCEL_PHASES = ['request', 'queue', 'waiting', 'response'] as const;

const CODES = Object.keys(ERRORS) as ErrorCode[];
const CODE_INDEX = Object.fromEntries(CODES.map((code, index) => [code, index])) as Record<
  ErrorCode,
  number
>;

/** One counter for each error code. */
class CodeCounters {
  readonly counts = new Float64Array(CODES.length);

  add(code: ErrorCode): void {
    this.counts[CODE_INDEX[code]]!++;
  }

  write(
    out: SnapshotWriter,
    name: 'onehop_errors_total' | 'onehop_retries_total',
    upstream: string,
  ): void {
    CODES.forEach((code, index) => {
      const count = this.counts[index]!;
      if (count > 0) out.number(name, count, upstream, code);
    });
  }
}

export class UpstreamSeries {
  readonly upstream: string;
  readonly connect = new Histogram(waitBoundsMs);
  readonly head = new Histogram(waitBoundsMs);
  readonly firstByte = new Histogram(waitBoundsMs);
  readonly firstEvent = new Histogram(waitBoundsMs);
  readonly eventGap = new Histogram(waitBoundsMs);
  readonly queueWait = new Histogram(waitBoundsMs);
  readonly cancelClose = new Histogram(ownBoundsMs);
  readonly cancels = new Float64Array(CANCEL_PHASES.length);
  readonly errors = new CodeCounters();
  readonly retries = new CodeCounters();
  /** By target; these events are rare. */
  readonly ejections = new Map<string, number>();
  readonly turnedHealthy = new Map<string, number>();
  readonly turnedUnhealthy = new Map<string, number>();

  constructor(upstream: string) {
    this.upstream = upstream;
  }

  write(out: SnapshotWriter): void {
    const { upstream } = this;
    out.histogram('onehop_upstream_connect_duration_seconds', this.connect, upstream);
    out.histogram('onehop_upstream_head_duration_seconds', this.head, upstream);
    out.histogram('onehop_upstream_first_byte_duration_seconds', this.firstByte, upstream);
    out.histogram('onehop_stream_first_event_seconds', this.firstEvent, upstream);
    out.histogram('onehop_stream_event_gap_seconds', this.eventGap, upstream);
    out.histogram('onehop_queue_wait_seconds', this.queueWait, upstream);
    out.histogram('onehop_cancel_to_upstream_close_seconds', this.cancelClose, upstream);
    CANCEL_PHASES.forEach((phase, index) => {
      const count = this.cancels[index]!;
      if (count > 0) out.number('onehop_cancellations_total', count, upstream, phase);
    });
    this.errors.write(out, 'onehop_errors_total', upstream);
    this.retries.write(out, 'onehop_retries_total', upstream);
    for (const [target, count] of this.ejections) {
      out.number('onehop_target_ejections_total', count, upstream, target);
    }
    for (const [target, count] of this.turnedHealthy) {
      out.number('onehop_target_health_changes_total', count, upstream, target, 'healthy');
    }
    for (const [target, count] of this.turnedUnhealthy) {
      out.number('onehop_target_health_changes_total', count, upstream, target, 'unhealthy');
    }
  }
}
