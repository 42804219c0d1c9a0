export { LIMITS, type LimitSpec } from './catalogue.ts';
export { type ConnectionsBound, connectionsBound, LimitPlaces } from './places.ts';
export { type LimitReport, LimitReporter, reportEveryMs } from './reporter.ts';
