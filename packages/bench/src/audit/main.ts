/** The audit of one runtime as a program: contestant names as arguments, AuditResult[] on stdout. */
import { contestantNames, currentRuntime } from '../contestants/index.ts';
import { auditHere } from './run.ts';

const names = process.argv.slice(2);
const results = await auditHere(names.length > 0 ? names : contestantNames(currentRuntime()));
process.stdout.write(`${JSON.stringify(results)}\n`, () => process.exit(0));
