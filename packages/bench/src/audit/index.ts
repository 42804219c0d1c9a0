/**
 * The fairness audit: does every contestant play by the same rules? Each runtime audits its own
 * contestants in one process of its own; Python peers are audited through their HTTP API.
 */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { runtimeExecutable } from '../api/launch.ts';
import { CliError } from '../cli-error.ts';
import type { Runtime } from '../contestants/index.ts';
import { chatContestantNames, contestantNames } from '../contestants/index.ts';
import type { AuditResult } from '../results/types.ts';
import { explainKnown } from './known-failures.ts';
import { auditPython } from './python.ts';
import { auditConnectionsMax } from './run.ts';

export { KNOWN_FAILURES, type KnownFailure } from './known-failures.ts';

const execute = promisify(execFile);

async function auditRuntime(
  runtime: 'node' | 'bun',
  names: readonly string[],
  signal: AbortSignal | undefined,
): Promise<AuditResult[]> {
  const file = fileURLToPath(new URL('./main.js', import.meta.url));
  const env = {
    ...process.env,
    BUN_CONFIG_MAX_HTTP_REQUESTS: String(auditConnectionsMax),
    HTTP_PROXY: '',
    http_proxy: '',
    ONEHOP_EXIT_WITH_PARENT: '1',
  };
  try {
    const { stdout } = await execute(runtimeExecutable(runtime), [file, ...names], {
      env,
      timeout: 180_000,
      ...(signal === undefined ? {} : { signal }),
      maxBuffer: 16 * 1024 * 1024,
    });
    return (JSON.parse(stdout) as AuditResult[]).map(explainKnown);
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    throw new CliError(`the fairness audit on ${runtime} broke off: ${text}`);
  }
}

export interface AuditOptions {
  /** Which runtimes' contestants; one after the other. */
  runtimes: readonly Runtime[];
  /** Default: all contestants, those of the chat case included. */
  names?: readonly string[];
  /** Breaks the audit off. */
  signal?: AbortSignal;
}

/**
 * Audits contestants in all their modes: every check of every entry, known failures included as
 * failures. Takes a few seconds per runtime. Python peers that are not installed are left out.
 * Throws CliError when an audit cannot run at all or was broken off.
 */
export async function runAudit({ runtimes, names, signal }: AuditOptions): Promise<AuditResult[]> {
  const results: AuditResult[] = [];
  for (const runtime of runtimes) {
    if (runtime === 'python') {
      results.push(...(await auditPython(names, signal)).map(explainKnown));
      continue;
    }
    const known = [...contestantNames(runtime), ...chatContestantNames(runtime)];
    const wanted = names === undefined ? known : known.filter((name) => names.includes(name));
    if (wanted.length > 0) results.push(...(await auditRuntime(runtime, wanted, signal)));
  }
  return results;
}
