/** A whole study: set-up, rounds, report. */
import { findBun } from 'onehop/cli/find-bun';
import { CliError } from '../cli-error.ts';
import { SessionProcess } from '../load/index.ts';
import {
  type Cell,
  type Entry,
  RESULTS_SCHEMA_ID,
  RESULTS_SCHEMA_VERSION,
  type StudyResults,
} from '../results/index.ts';
import { analyseStudy } from '../stats/index.ts';
import { AUDIT_MS_MAX, auditEntries } from './audit.ts';
import { loadCatalogue } from './catalogue.ts';
import { buildCells } from './cells.ts';
import { Children } from './children.ts';
import { buildEntries, buildTasks, checkClientNames } from './entries.ts';
import { createLoader } from './generators.ts';
import type { StudyOptions } from './options.ts';
import { findPython, type PythonSetup } from './peers.ts';
import { Phases } from './phases.ts';
import { findPinning, type Pinning } from './pinning.ts';
import { createProgress, type Progress, type ProgressTarget } from './progress.ts';
import { executableVersion, rigFacts } from './rig.ts';
import { Rounds } from './run.ts';
import type { SessionContext } from './session.ts';
import type { StoredStudy, StudyStore } from './store.ts';
import { Upstreams } from './upstreams.ts';

/** Kept back from the budget for statistics, charts and writing, which take about 2 s here. */
const REPORT_MS = 6000;
const BOOTSTRAP_RESAMPLES = 10_000;
const CONFIDENCE = 0.95;
const EQUIVALENCE_MIN = 0.03;
const INTERRUPTED = 'The study was interrupted; it holds what was measured.';

export interface StudyRequest {
  options: StudyOptions;
  store: StudyStore;
  /** What `--resume` found; null for a new study. */
  stored: StoredStudy | null;
  /** The command to run it again. */
  command: string;
  /** When the process started, on the clock of `performance.now()`: budgets count from there. */
  startedMs: number;
  progress: ProgressTarget;
  stopped: AbortSignal;
}

export interface StudyOutcome {
  results: StudyResults;
  interrupted: boolean;
}

/** Measures. The results are on disk when it resolves; the report is the caller's. */
export async function runStudy(request: StudyRequest): Promise<StudyOutcome> {
  const { options, store, stored, stopped } = request;
  const bun = findBun();
  const bunVersion = executableVersion(bun);
  const progress = createProgress(request.progress, () => timeLeftMs(request));
  const children = new Children();
  const phases = new Phases();
  try {
    children.startReaper();
    stopped.addEventListener('abort', () => void children.stopAll(), { once: true });
    const catalogue = await loadCatalogue(bunVersion, options.case);
    const python = await phases.time('set-up', () => findPython(options, children, progress));
    catalogue.items.push(...python.items);
    catalogue.knownNames.push(...python.knownNames);
    checkClientNames(options.clients, catalogue.knownNames);
    const entries = buildEntries(options, catalogue);
    const cells = buildCells(options);
    const pinned = options.pin === 'auto' && options.generator === 'onehop';
    const pinning = pinned ? findPinning() : null;
    const loader = createLoader(options, bunVersion, children, stopped, pinning?.rest);
    const results = emptyResults(
      request,
      entries,
      cells,
      generatorText(loader.name, pinning),
      bunVersion,
      python,
    );
    if (stored !== null) takeOver(results, stored);
    const context: SessionContext = {
      children,
      upstreams: new Upstreams(children, options, bun, pinning, (sentence) => {
        if (!results.warnings.includes(sentence)) results.warnings.push(sentence);
      }),
      options,
      runLoad: loader.run,
      generator: sharedGenerator(children, pinning),
      pinning,
    };
    await phases.time('audit', () => audit(results, options, progress, stopped));
    const rounds = new Rounds({
      options,
      tasks: buildTasks(options, entries, cells),
      results,
      context,
      store,
      progress,
      phases,
      spentMs: stored?.spentMs ?? 0,
      timeLeftMs: () => timeLeftMs(request),
      stopped,
      isDecided,
    });
    await rounds.measure();
    progress.note(`time: ${phases.text()}`);
    finish(results, stopped.aborted);
    if (results.measurements.length > 0) {
      rounds.save();
      store.chooseMedianRuns(results);
    }
    return { results, interrupted: stopped.aborted };
  } finally {
    progress.end();
    await children.stopAll();
  }
}

/** What loads, and which cores it may use. */
function generatorText(name: string, pinning: Pinning | null): string {
  return pinning === null ? name : `${name}; ${pinning.text}`;
}

/** One generator for all that runs in pieces: what it compiled stays compiled. */
function sharedGenerator(children: Children, pinning: Pinning | null): () => SessionProcess {
  let generator: SessionProcess | null = null;
  return () => {
    if (generator === null) {
      generator = new SessionProcess({ launcher: pinning?.rest ?? [] });
      children.adopt(generator.child);
    }
    return generator;
  };
}

function timeLeftMs({ options, startedMs }: StudyRequest): number | null {
  if (options.budgetMs === null) return null;
  return options.budgetMs - REPORT_MS - (performance.now() - startedMs);
}

function emptyResults(
  request: StudyRequest,
  entries: Entry[],
  cells: Cell[],
  generator: string,
  bunVersion: string | null,
  python: PythonSetup,
): StudyResults {
  const { options } = request;
  return {
    $schema: RESULTS_SCHEMA_ID,
    schemaVersion: RESULTS_SCHEMA_VERSION,
    kind: 'onehop-study',
    startedAt: new Date().toISOString(),
    finishedAt: null,
    complete: false,
    command: request.command,
    rig: rigFacts({
      nodeVersion: process.versions.node,
      bunVersion,
      pythonVersion: python.version,
      generator,
    }),
    settings: {
      rounds: options.rounds,
      seed: options.seed,
      connectionsMax: options.connectionsMax,
      warmupMs: options.warmupMs,
      bootstrapResamples: BOOTSTRAP_RESAMPLES,
      confidence: CONFIDENCE,
      equivalenceMin: EQUIVALENCE_MIN,
    },
    entries,
    cells,
    measurements: [],
    audit: [],
    leftOut: [...python.leftOut],
    warnings: [],
  };
}

/** Carries an interrupted study on. @throws CliError when what would be added is not comparable */
function takeOver(results: StudyResults, { results: old }: StoredStudy): void {
  const facts = [
    'cpuModel',
    'cores',
    'nodeVersion',
    'bunVersion',
    'onehopVersion',
    'generator',
  ] as const;
  for (const fact of facts) {
    if (old.rig[fact] === results.rig[fact]) continue;
    throw new CliError(
      `--resume: measured with ${fact} ${old.rig[fact]}, but here it is ${results.rig[fact]}; start a new study`,
    );
  }
  for (const entry of old.entries) {
    const now = results.entries.find((other) => other.id === entry.id);
    if (now === undefined || now.version !== entry.version) {
      const here = now === undefined ? 'not here' : `${now.version} here`;
      throw new CliError(
        `--resume: ${entry.id} was measured in version ${entry.version} and is ${here}; start a new study`,
      );
    }
  }
  results.startedAt = old.startedAt;
  results.measurements.push(...old.measurements);
  results.audit.push(...old.audit);
  results.warnings.push(...old.warnings.filter((warning) => warning !== INTERRUPTED));
}

async function audit(
  results: StudyResults,
  options: StudyOptions,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  if (results.audit.length > 0 || options.audit === 'off' || signal.aborted) return;
  progress.note('auditing the clients for fairness');
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(), AUDIT_MS_MAX);
  if (options.budgetMs === null) clearTimeout(timer);
  const either = AbortSignal.any([signal, limit.signal]);
  const outcome = await auditEntries(results.entries, either);
  clearTimeout(timer);
  results.audit.push(...outcome.results);
  if (!signal.aborted) results.warnings.push(...outcome.warnings);
}

/** Whether it is settled in every league who stands where against its best. */
function isDecided(results: StudyResults): boolean {
  return analyseStudy(results).leagues.every(({ ranking }) =>
    ranking.cpu.ranked.every(({ versusBest }) => versusBest?.outcome !== 'undecided'),
  );
}

function finish(results: StudyResults, interrupted: boolean): void {
  const rounds = new Set(results.measurements.map(({ round }) => round)).size;
  // What was done, not what was hoped for.
  results.settings.rounds = Math.max(1, rounds);
  results.finishedAt = new Date().toISOString();
  results.complete = !interrupted;
  if (interrupted) results.warnings.push(INTERRUPTED);
}
