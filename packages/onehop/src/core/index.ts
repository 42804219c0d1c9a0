export { type Clock, systemClock, type TimerHandle } from './clock.ts';
export {
  ERRORS,
  type ErrorCode,
  type ErrorSide,
  type ErrorSpec,
  type LimitName,
  OnehopError,
  type OnehopErrorOptions,
  type Phase,
  type RetryRule,
} from './errors.ts';
export { FaultLog, type FaultReport, faultLine, reportFault } from './guard.ts';
export * as limits from './limits.ts';
export { RingQueue } from './ring-queue.ts';
export { Deadline, type DeadlineOwner, DeadlineWheel } from './timers.ts';
