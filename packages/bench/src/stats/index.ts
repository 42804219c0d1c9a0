export * from './analysis.ts';
export * from './answers.ts';
export type { Interval, IntervalOptions } from './bootstrap.ts';
export * from './compare.ts';
export { geometricMean, mean, median, medianRanks, quantileSorted } from './describe.ts';
export { CPU, errorsOf, Figures, headlineCell, type Metric, RPS } from './figures.ts';
export { exitCodeOf, type Gate, judgeGates } from './gates.ts';
export { normal, type Random, seededRandom } from './random.ts';
export { letter, type Ranked, type Ranking, rank } from './ranking.ts';
