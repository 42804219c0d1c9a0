import type { StudyAnalysis } from '../../stats/index.ts';
import type { Chart, ChartInput } from '../svg.ts';
import { rpsOverConnections, studyPlot } from './connections.ts';
import { cpuSplit } from './cpu.ts';
import { forest } from './forest.ts';
import { frontierChart, heatMap } from './grid.ts';
import { openLoop } from './open-loop.ts';
import { runOrder } from './run-order.ts';
import { spectrum } from './spectrum.ts';

export type ChartFunction = (analysis: StudyAnalysis, input: ChartInput) => Chart;

/** In the order in which the report shows them. */
export const charts: readonly ChartFunction[] = [
  forest,
  rpsOverConnections,
  spectrum,
  frontierChart,
  heatMap,
  cpuSplit,
  openLoop,
  runOrder,
];

export const studyPlots: readonly ChartFunction[] = [
  (analysis, input) => studyPlot(analysis, input, 'latency'),
  (analysis, input) => studyPlot(analysis, input, 'rps'),
];
export { manyLines, type NamedLine } from './lines.ts';
