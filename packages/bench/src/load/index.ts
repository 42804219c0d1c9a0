export { readOhaDirectory } from './oha-reader.ts';
export * from './oha-types.ts';
export { decodePlan, defaultPlan, encodePlan, exactSamplesMax } from './plan.ts';
export * from './types.ts';
