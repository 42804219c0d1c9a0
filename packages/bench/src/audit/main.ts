/** The audit of one runtime as a program: contestant names as arguments, AuditResult[] on stdout. */
import { auditHere } from './run.ts';

// Started by a study: when that is gone, nobody reads the result any more.
if (process.env['ONEHOP_EXIT_WITH_PARENT'] === '1') {
  process.stdin.on('end', () => process.exit(1));
  process.stdin.on('error', () => process.exit(1));
  process.stdin.resume();
}

const names = process.argv.slice(2);
const results = await auditHere(names);
process.stdout.write(`${JSON.stringify(results)}\n`, () => process.exit(0));
