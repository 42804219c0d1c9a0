/** `onehop bench audit`: the fairness audit by hand. */
import type { Command } from 'commander';
import { findBun } from 'onehop/cli/find-bun';
import { CliError, ExitCode } from '../cli-error.ts';
import {
  chatContestantNames,
  contestantNames,
  pythonPeers,
  type Runtime,
} from '../contestants/index.ts';
import { KNOWN_FAILURES, runAudit } from './index.ts';

interface AuditFlags {
  clients?: string;
  json?: boolean;
}

/** Runtimes that are here; says on stderr which are not. */
async function runtimesHere(): Promise<{ runtimes: Runtime[]; names: string[] }> {
  const runtimes: Runtime[] = ['node'];
  if (findBun() === null) console.error('left out: Bun was not found');
  else runtimes.push('bun');
  const { peers, reason } = await pythonPeers();
  if (reason === null) runtimes.push('python');
  else console.error(`left out: Python peers: ${reason}`);
  return {
    runtimes,
    names: [...contestantNames(), ...chatContestantNames(), ...peers.map(({ name }) => name)],
  };
}

async function audit(flags: AuditFlags): Promise<void> {
  const { runtimes, names } = await runtimesHere();
  const wanted = flags.clients?.split(',').map((name) => name.trim());
  const unknown = wanted?.find((name) => !names.includes(name));
  if (unknown !== undefined) {
    throw new CliError(`unknown client "${unknown}"; known: ${names.join(', ')}`);
  }
  const results = await runAudit({ runtimes, ...(wanted === undefined ? {} : { names: wanted }) });
  if (flags.json === true) console.log(JSON.stringify(results, null, 2));
  const failed = results.filter(({ verdict }) => verdict === 'fail');
  if (flags.json !== true) {
    for (const entry of new Set(results.map((result) => result.entry))) {
      const own = failed.filter((result) => result.entry === entry);
      console.log(`${entry.padEnd(30)} ${own.length === 0 ? 'fair' : 'FAILS'}`);
      for (const { check, detail } of own) console.log(`    ${check}: ${detail}`);
    }
  }
  const isKnown = (entry: string, check: string) =>
    KNOWN_FAILURES.some((known) => known.entry === entry && known.check === check);
  if (failed.some(({ entry, check }) => !isKnown(entry, check))) {
    process.exitCode = ExitCode.Breached;
  }
}

export function registerAudit(program: Command): void {
  program
    .command('audit')
    .description('check that every client plays by the same rules (exit 3 when one does not)')
    .option('--clients <names>', 'only these, comma-separated')
    .option('--json', 'every check of every entry as JSON')
    .action(audit);
}
