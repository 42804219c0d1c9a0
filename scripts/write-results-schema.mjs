// Writes the published JSON Schema of results files from the types' schema. Run after a change.
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { resultsSchemaText } from '../packages/bench/dist/results/index.js';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
writeFileSync(join(root, 'packages/bench/schema/results.schema.json'), resultsSchemaText());
