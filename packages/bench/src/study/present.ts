/** The end of a study: the report on disk, the verdict on the terminal. */
import type { StudyResults } from '../results/types.ts';
import type { StudyStore } from './store.ts';

export async function presentStudy(results: StudyResults, store: StudyStore): Promise<void> {
  console.log(`${results.measurements.length} runs measured: ${store.resultsPath}`);
}
