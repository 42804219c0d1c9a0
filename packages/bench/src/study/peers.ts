/** The Python peers of the study, when a Python with their packages can be had. */
import type { Entry } from '../results/types.ts';
import type { CatalogueItem } from './entries.ts';
import type { StudyOptions } from './options.ts';
import type { ProgressTarget } from './progress.ts';

export interface PythonRequest {
  requestUrl: string;
  connectionsMax: number;
  entry: Entry;
}

export interface PythonLauncher {
  command(request: PythonRequest): { command: string; args: string[]; env: Record<string, string> };
}

export interface PythonSetup {
  items: CatalogueItem[];
  knownNames: string[];
  launcher: PythonLauncher | null;
  version: string | null;
  leftOut: string[];
}

/** Finds the peers; says in `leftOut` why there are none. */
export async function findPython(
  options: StudyOptions,
  _progress: ProgressTarget,
): Promise<PythonSetup> {
  const leftOut = options.python === 'off' ? ['Python peers: --python off'] : [];
  return { items: [], knownNames: [], launcher: null, version: null, leftOut };
}
