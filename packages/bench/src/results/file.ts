/** Reading and writing of results files: one clear sentence on bad input, nothing half-written. */
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { Ajv2020, type ErrorObject, type ValidateFunction } from 'ajv/dist/2020.js';
import { OnehopError } from 'onehop';
import { resultsSchemaText } from './schema.ts';
import { RESULTS_SCHEMA_VERSION, type StudyResults } from './types.ts';

let validator: ValidateFunction<StudyResults> | null = null;

function validate(): ValidateFunction<StudyResults> {
  // Compiled on first use: commands that never read a results file do not pay for it.
  validator ??= new Ajv2020({ strict: false }).compile<StudyResults>(
    JSON.parse(resultsSchemaText()) as object,
  );
  return validator;
}

const invalid = (message: string, cause?: unknown) =>
  new OnehopError('ARGUMENT_INVALID', message, { phase: 'config', cause });

/** The reason of a failed system call in plain words. */
function reasonOf(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code ?? '';
  const known: Record<string, string> = {
    ENOENT: 'there is no such file or directory',
    EACCES: 'permission denied',
    EPERM: 'permission denied',
    EROFS: 'the file system is read-only',
    EISDIR: 'it is a directory',
    ENOTDIR: 'a part of the path is not a directory',
    ENOSPC: 'the disk is full',
  };
  return known[code] ?? (error instanceof Error ? error.message : String(error));
}

function describe(error: ErrorObject): string {
  const where = error.instancePath === '' ? 'the file' : error.instancePath.slice(1);
  return `${where.replaceAll('/', '.')} ${error.message ?? 'is invalid'}`;
}

/** Names that measurements and audits use but that the file does not define, or null. */
function danglingName(results: StudyResults): string | null {
  const entries = new Set(results.entries.map((entry) => entry.id));
  const cells = new Set(results.cells.map((cell) => cell.id));
  if (entries.size !== results.entries.length) return 'two entries have the same id';
  if (cells.size !== results.cells.length) return 'two cells have the same id';
  for (const { entry, cell } of results.measurements) {
    if (!entries.has(entry)) return `a measurement names the unknown entry "${entry}"`;
    if (!cells.has(cell)) return `a measurement names the unknown cell "${cell}"`;
  }
  for (const { entry } of results.audit) {
    if (!entries.has(entry)) return `an audit result names the unknown entry "${entry}"`;
  }
  for (const { id, twinOf } of results.entries) {
    if (twinOf !== null && !entries.has(twinOf)) return `${id} is the twin of unknown "${twinOf}"`;
  }
  return null;
}

/**
 * Checks parsed JSON to be a results file of a version this program can read.
 * @param name how the error message calls the source, usually its path
 * @throws OnehopError ARGUMENT_INVALID with one sentence naming source and problem
 */
export function checkResults(value: unknown, name: string): StudyResults {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalid(`${name} is not a results file: it holds no JSON object`);
  }
  const { kind, schemaVersion } = value as Partial<Record<keyof StudyResults, unknown>>;
  if (kind !== 'onehop-study') {
    const found = kind === undefined ? 'it has no "kind"' : `its kind is ${JSON.stringify(kind)}`;
    throw invalid(`${name} is not a onehop study: ${found}, not "onehop-study"`);
  }
  if (typeof schemaVersion === 'number' && schemaVersion > RESULTS_SCHEMA_VERSION) {
    throw invalid(
      `${name} has schema version ${schemaVersion}, but this onehop reads up to ` +
        `${RESULTS_SCHEMA_VERSION}: update onehop`,
    );
  }
  const check = validate();
  if (!check(value)) {
    throw invalid(`${name} is not a valid results file: ${describe(check.errors![0]!)}`);
  }
  const dangling = danglingName(value);
  if (dangling !== null) throw invalid(`${name} is not a valid results file: ${dangling}`);
  return value;
}

/**
 * Reads and validates a results file.
 * @throws OnehopError ARGUMENT_INVALID when it cannot be read, is no JSON, is of another kind, of a
 *   newer schema or does not validate; the message is one sentence naming file and problem
 */
export function readResults(path: string): StudyResults {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw invalid(`cannot read ${path}: ${reasonOf(error)}`, error);
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    const what = text.trim() === '' ? 'it is empty' : (error as Error).message;
    throw invalid(`${path} is not valid JSON: ${what}`, error);
  }
  return checkResults(value, path);
}

/**
 * Makes a directory and those above it; one that exists is fine. Step by step, because Node's
 * recursive `mkdir` never returns where a file system answers ENOENT, as /proc does.
 * @returns the topmost directory that was made, or null
 * @throws the error of `mkdir`
 */
export function makeDirectory(path: string): string | null {
  const missing: string[] = [];
  for (let at = resolve(path); !existsSync(at) && at !== dirname(at); at = dirname(at)) {
    missing.push(at);
  }
  // Told apart from a directory only by trying.
  if (missing.length === 0) mkdirSync(path, { recursive: true });
  for (const directory of missing.reverse()) mkdirSync(directory);
  return missing[0] ?? null;
}

/**
 * Writes text to a temporary file beside `path`, flushes it and renames it into place, so that a
 * reader or a crash never sees half a file.
 * @throws OnehopError ARGUMENT_INVALID when the place cannot be written
 */
export function writeFileAtomically(path: string, data: string | Uint8Array): void {
  const temporary = join(dirname(path), `.${basename(path)}.${process.pid}.tmp`);
  try {
    const file = openSync(temporary, 'w');
    try {
      const bytes = typeof data === 'string' ? Buffer.from(data) : data;
      for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, path);
  } catch (error) {
    try {
      rmSync(temporary, { force: true });
    } catch {
      // Where the directory itself cannot be written there is no temporary file to remove.
    }
    throw invalid(`cannot write ${path}: ${reasonOf(error)}`, error);
  }
}

/**
 * Validates and writes a results file in one step that a crash cannot leave half done.
 * @throws OnehopError ARGUMENT_INVALID when the results break the schema or the place cannot be
 *   written
 */
export function writeResultsAtomically(path: string, results: StudyResults): void {
  const text = `${JSON.stringify(results)}\n`;
  // What would be read back is checked, not the object: JSON turns NaN into null.
  checkResults(JSON.parse(text), path);
  writeFileAtomically(path, text);
}
