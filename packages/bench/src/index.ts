export type * from './results/types.ts';
