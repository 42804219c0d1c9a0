export { METRICS, type MetricName, type MetricSpec } from './catalogue.ts';
export { Histogram, ownBoundsMs, waitBoundsMs } from './histogram.ts';
export { LineLog, logBytesMax } from './line-log.ts';
export {
  type HistogramValue,
  mergeSnapshots,
  renderPrometheus,
  type Sample,
  type Snapshot,
  SnapshotWriter,
  totalsOf,
} from './snapshot.ts';
