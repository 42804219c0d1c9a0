import type { StudyAnalysis } from '../stats/index.ts';
import { count, number, percent } from './format.ts';

/** The facts that a reader needs to place the figures: machine, versions, seed, rounds, date. */
export function stripOf(analysis: StudyAnalysis): (readonly [name: string, value: string])[] {
  const { rig, settings, startedAt, finishedAt, complete, measurements, cells, entries } =
    analysis.results;
  const minutes =
    finishedAt === null ? null : (Date.parse(finishedAt) - Date.parse(startedAt)) / 60_000;
  const runtimes = [
    `Node ${rig.nodeVersion.replace(/^v/, '')}`,
    rig.bunVersion === null ? null : `Bun ${rig.bunVersion}`,
    rig.pythonVersion === null ? null : `Python ${rig.pythonVersion}`,
  ];
  return [
    ['Processor', `${rig.cpuModel}, ${rig.cores} cores`],
    ['Memory', `${number(rig.memoryBytes / 2 ** 30)} GiB`],
    ['System', `${rig.os}, ${rig.kernel}`],
    ['Runtimes', runtimes.filter((one) => one !== null).join(', ')],
    [
      'onehop',
      `${rig.onehopVersion}${rig.commit === null ? '' : `, ${rig.commit.slice(0, 12)}${rig.commit.endsWith('-dirty') ? '-dirty' : ''}`}`,
    ],
    ['Generator', rig.generator],
    [
      'Measured',
      `${startedAt.slice(0, 16).replace('T', ' ')} UTC${minutes === null ? '' : `, ${number(minutes)} min`}`,
    ],
    [
      'Design',
      `${count(settings.rounds, 'round')} × ${count(cells.length, 'cell')} × ${entries.length} entries, seed ${settings.seed}`,
    ],
    ['Runs', `${number(measurements.length)}${complete ? '' : ', interrupted'}`],
    ['Pool', `at most ${settings.connectionsMax} connections`],
    ['Warm-up', `until CPU falls no more, at most ${number(settings.warmupMs)} ms`],
    [
      'Intervals',
      `${percent(settings.confidence)}, band at least ±${percent(settings.equivalenceMin)}`,
    ],
  ];
}
