export {
  type LaunchCommand,
  type LaunchOptions,
  launch,
  launchCommand,
  type ServerProcess,
  type ServerProgram,
} from './launch.ts';
export type { ApiMeasure } from './measure.ts';
