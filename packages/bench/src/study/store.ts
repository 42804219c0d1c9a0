/**
 * The directory of one study: `results.json`, `plan.json` (settings, for `--resume`), the report, and
 * under `oha/` one file per cell in oha's shape. `oha/rounds/<round>/` holds every run; the file
 * beside it, `<client>_<n>_<c>.json`, is the run of the round whose requests/s is the median one: a
 * real run, since percentiles of several runs must not be averaged.
 */
import { copyFileSync, existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { CliError } from '../cli-error.ts';
import {
  makeDirectory,
  readResults,
  writeFileAtomically,
  writeResultsAtomically,
} from '../results/index.ts';
import type { Cell, Measurement, StudyResults } from '../results/types.ts';
import { cellFileName } from './cells.ts';
import { groupBy } from './group.ts';
import type { StudyOptions } from './options.ts';

/** 2: pieces, pinning and the case of a study are in its plan. */
const PLAN_VERSION = 2;

interface PlanFile {
  kind: 'onehop-study-plan';
  version: number;
  options: StudyOptions;
  /** Time measured so far, over all sessions. */
  spentMs: number;
}

export interface StoredStudy {
  results: StudyResults;
  options: StudyOptions;
  spentMs: number;
}

/** Local time as a directory name that sorts: `2026-11-23T10-15-00`. */
export function timestamp(now: Date): string {
  const two = (value: number): string => String(value).padStart(2, '0');
  const day = `${now.getFullYear()}-${two(now.getMonth() + 1)}-${two(now.getDate())}`;
  return `${day}T${two(now.getHours())}-${two(now.getMinutes())}-${two(now.getSeconds())}`;
}

/** The run whose `requestsPerS` is the median one (the lower of two in the middle). */
export function medianRun(runs: readonly Measurement[]): Measurement | null {
  const sorted = [...runs].sort((a, b) => a.requestsPerS - b.requestsPerS);
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? null;
}

export class StudyStore {
  readonly dir: string;
  /** The topmost directory that was made for the study. */
  #created: string | null = null;
  /** No other study was here. */
  #isNew = false;

  constructor(dir: string) {
    this.dir = dir;
  }

  get resultsPath(): string {
    return join(this.dir, 'results.json');
  }

  get #planPath(): string {
    return join(this.dir, 'plan.json');
  }

  /** Makes the directory and proves that it can be written. @throws CliError in one sentence */
  create(): void {
    if (existsSync(this.resultsPath)) {
      throw new CliError(
        `${this.dir} holds the results of another study; give another --out, or --resume ${this.dir}`,
      );
    }
    try {
      this.#created = makeDirectory(this.dir);
      const probe = join(this.dir, 'oha');
      const made = makeDirectory(probe);
      writeFileAtomically(join(this.dir, '.probe'), '');
      rmSync(join(this.dir, '.probe'));
      if (made !== null) rmSync(probe, { recursive: true });
    } catch (error) {
      this.discard();
      throw new CliError(`cannot write results to ${this.dir}: ${plainReason(error)}`);
    }
    this.#isNew = true;
  }

  /** Removes what {@link create} made and what was saved since: nothing was measured. */
  discard(): void {
    if (this.#created !== null) rmSync(this.#created, { recursive: true, force: true });
    else if (this.#isNew) {
      for (const path of [this.resultsPath, this.#planPath]) rmSync(path, { force: true });
    }
  }

  discardUnlessMeasured(): void {
    if (!existsSync(this.resultsPath)) this.discard();
  }

  save(results: StudyResults, options: StudyOptions, spentMs: number): void {
    const plan: PlanFile = { kind: 'onehop-study-plan', version: PLAN_VERSION, options, spentMs };
    writeFileAtomically(this.#planPath, `${JSON.stringify(plan, null, 2)}\n`);
    writeResultsAtomically(this.resultsPath, results);
  }

  saveRun(round: number, entry: string, cell: Cell, oha: unknown): void {
    const dir = join(this.dir, 'oha', 'rounds', String(round));
    makeDirectory(dir);
    writeFileAtomically(join(dir, cellFileName(entry, cell)), `${JSON.stringify(oha)}\n`);
  }

  /** Puts the median round's file of every cell beside the rounds. */
  chooseMedianRuns(results: StudyResults): void {
    const cells = new Map(results.cells.map((cell) => [cell.id, cell]));
    const groups = groupBy(results.measurements, ({ entry, cell }) => `${entry} ${cell}`);
    for (const runs of groups.values()) {
      const run = medianRun(runs)!;
      const name = cellFileName(run.entry, cells.get(run.cell)!);
      const from = join(this.dir, 'oha', 'rounds', String(run.round), name);
      if (existsSync(from)) copyFileSync(from, join(this.dir, 'oha', name));
    }
  }

  /** @throws CliError when the directory holds no study, a broken one or one of another version */
  load(): StoredStudy {
    const path = this.#planPath;
    if (!existsSync(this.resultsPath) || !existsSync(path)) {
      throw new CliError(`--resume: ${this.dir} holds no study (no results.json and plan.json)`);
    }
    let plan: PlanFile;
    try {
      plan = JSON.parse(readFileSync(path, 'utf8')) as PlanFile;
    } catch {
      throw new CliError(`--resume: ${path} is not valid JSON`);
    }
    if (plan.kind !== 'onehop-study-plan' || typeof plan.options !== 'object') {
      throw new CliError(`--resume: ${path} is not the plan of a study`);
    }
    if (plan.version > PLAN_VERSION) {
      throw new CliError(
        `--resume: ${path} has version ${plan.version}, but this onehop reads up to ${PLAN_VERSION}: update onehop`,
      );
    }
    if (plan.version < PLAN_VERSION) {
      throw new CliError(
        `--resume: ${path} is of an earlier onehop, which measured otherwise; start a new study`,
      );
    }
    try {
      const results = readResults(this.resultsPath);
      return { results, options: plan.options, spentMs: plan.spentMs };
    } catch (error) {
      throw new CliError(`--resume: ${(error as Error).message}`);
    }
  }
}

/** The reason of a failed file operation in plain words. */
function plainReason(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code ?? '';
  const known: Record<string, string> = {
    ENOENT: 'this file system takes no directories',
    EACCES: 'permission denied',
    EPERM: 'permission denied',
    EROFS: 'the file system is read-only',
    ENOTDIR: 'a part of the path is a file',
    EEXIST: 'it is a file',
    ENOSPC: 'the disk is full',
  };
  return known[code] ?? (error as Error).message;
}
