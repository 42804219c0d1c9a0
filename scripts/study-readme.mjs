// Writes the README's part on the study from lab/results/study-default/results.json.
// `--check` writes nothing and exits 1 when README and results differ.
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readmeWithStudy } from '../packages/bench/dist/report/index.js';
import { readResults } from '../packages/bench/dist/results/index.js';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const readme = join(root, 'README.md');
const results = readResults(join(root, 'lab/results/study-default/results.json'));
const { old, now } = readmeWithStudy(readme, results);
if (process.argv.includes('--check')) {
  if (old !== now) {
    console.error('README.md does not say what lab/results/study-default/results.json holds;');
    console.error('run npm run study:readme');
    process.exit(1);
  }
} else if (old !== now) {
  writeFileSync(readme, now);
  console.log('README.md: the study’s part is written anew');
}
