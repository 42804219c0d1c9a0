/** The Python peers of the study, when a Python with their packages can be had. */
import type { Entry } from '../results/types.ts';

export interface PythonRequest {
  requestUrl: string;
  connectionsMax: number;
  entry: Entry;
}

export interface PythonLauncher {
  command(request: PythonRequest): { command: string; args: string[]; env: Record<string, string> };
}
