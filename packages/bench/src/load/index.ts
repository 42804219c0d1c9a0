export {
  type DriverOptions,
  type DriverResult,
  driverResultOf,
  runH2load,
  runOha,
  runWrk,
  toolVersion,
} from './drivers.ts';
export { readOhaDirectory } from './oha-reader.ts';
export * from './oha-types.ts';
export { decodePlan, defaultPlan, encodePlan, exactSamplesMax } from './plan.ts';
export { type RunOptions, runLoad } from './run.ts';
export { unaccountedRequests } from './self-check.ts';
export { LoadSession, type PhaseCount, type PhaseLimits } from './session.ts';
export { SessionProcess } from './session-process.ts';
export { type LoadRuntime, type SpawnOptions, spawnLoad } from './spawn.ts';
export * from './types.ts';
