export { ERRORS, type ErrorCode, OnehopError } from './core/index.ts';
