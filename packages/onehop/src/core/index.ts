export { type Clock, systemClock, type TimerHandle } from './clock.ts';
export {
  ERRORS,
  type ErrorCode,
  type ErrorSide,
  type ErrorSpec,
  OnehopError,
  type OnehopErrorOptions,
  type Phase,
  type RetryRule,
} from './errors.ts';
