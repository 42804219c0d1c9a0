export {
  checkResults,
  makeDirectory,
  readResults,
  writeFileAtomically,
  writeResultsAtomically,
} from './file.ts';
export { RESULTS_SCHEMA_ID, resultsSchema, resultsSchemaText } from './schema.ts';
export * from './types.ts';
