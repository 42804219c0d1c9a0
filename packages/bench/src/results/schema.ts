/**
 * The JSON Schema of a results file, in step with `types.ts` by the assertion at the end of this
 * file and published as `schema/results.schema.json`. Unknown fields are allowed, so that a reader
 * takes a file of the same version to which a field was added.
 */
import Type from 'typebox';
import type { StudyResults } from './types.ts';
import { RESULTS_SCHEMA_VERSION } from './types.ts';

export const RESULTS_SCHEMA_ID = 'urn:onehop:schema:results-1';

const text = (description?: string) => Type.String(description ? { description } : {});
const number = (description?: string) => Type.Number(description ? { description } : {});
const share = () => Type.Number({ minimum: 0 });
const count = () => Type.Integer({ minimum: 0 });
const orNull = <T extends Type.TSchema>(schema: T) => Type.Union([schema, Type.Null()]);
const counts = () => Type.Record(Type.String(), Type.Number());
const runtime = () =>
  Type.Union([Type.Literal('node'), Type.Literal('bun'), Type.Literal('python')]);

const rig = Type.Object({
  cpuModel: text(),
  cores: count(),
  memoryBytes: number(),
  os: text(),
  kernel: text(),
  nodeVersion: text(),
  bunVersion: orNull(text()),
  pythonVersion: orNull(text()),
  onehopVersion: text(),
  commit: orNull(text('commit of the working tree, with -dirty when it differs')),
  generator: text('which generator loaded the API'),
});

const entry = Type.Object({
  id: Type.String({ minLength: 1 }),
  role: Type.Union([
    Type.Literal('contestant'),
    Type.Literal('twin'),
    Type.Literal('direct'),
    Type.Literal('null-forwarder'),
  ]),
  contestant: text(),
  package: Type.Optional(orNull(text('package the client comes from; null when built in'))),
  runtime: runtime(),
  reuse: Type.Union([Type.Literal('shared'), Type.Literal('per-request')]),
  protocol: Type.Union([Type.Literal('http/1.1'), Type.Literal('h2c')]),
  version: text(),
  twinOf: orNull(text('id of the entry that the twin duplicates')),
  note: text(),
  source: Type.Optional(text('source of the adapter')),
});

const cell = Type.Object({
  id: Type.String({ minLength: 1 }),
  kind: Type.Union([Type.Literal('closed'), Type.Literal('open')]),
  requests: orNull(count()),
  connections: Type.Integer({ minimum: 1 }),
  ratePerS: orNull(number('offered requests per second; null for a closed loop')),
  durationMsMax: orNull(number()),
  upstreamLatencyMs: share(),
});

const percentiles = Type.Object({
  min: number(),
  p10: number(),
  p25: number(),
  p50: number(),
  p75: number(),
  p90: number(),
  p95: number(),
  p99: orNull(number('null below 1,000 samples')),
  p999: orNull(number('null below 10,000 samples')),
  max: number(),
  mean: number(),
});

const measurement = Type.Object({
  round: count(),
  order: Type.Integer({ minimum: 0, description: 'position in the whole run, from 0' }),
  entry: text(),
  cell: text(),
  startedAt: text(),
  calibrationMs: Type.Optional(number('time of a fixed spin loop right before the run')),
  sliceCpuUs: Type.Optional(
    Type.Array(Type.Number(), {
      description: 'CPU per request of each piece of a run that was measured in pieces',
    }),
  ),
  slicePasses: Type.Optional(
    Type.Array(Type.Integer({ minimum: 0 }), {
      description: 'the pass that each piece was in; pieces of one pass ran close to each other',
    }),
  ),
  otherCores: Type.Optional(number('cores kept busy by processes outside the study')),
  completed: count(),
  valid: count(),
  statusCounts: counts(),
  errorCounts: counts(),
  dropped: count(),
  durationMs: share(),
  requestsPerS: share(),
  latencyMs: percentiles,
  serviceMs: orNull(percentiles),
  quantilesMs: Type.Array(Type.Number(), {
    description: '101 latencies in ms at quantiles 0, 0.01 .. 1; empty when nothing completed',
    maxItems: 101,
  }),
  generator: Type.Object({
    cpuUtilisation: share(),
    scheduleLagP99Ms: orNull(number()),
    achievedOverOffered: orNull(number()),
    connectionsEstablished: count(),
    littlesLawRatio: number(),
  }),
  api: orNull(
    Type.Object({
      cpuUserUs: number(),
      cpuSystemUs: number(),
      cpuPerRequestUs: number(),
      loopDelayP50Ms: orNull(number()),
      loopDelayP99Ms: orNull(number()),
      loopDelayMaxMs: orNull(number()),
      loopUtilisation: orNull(number()),
      rssPeakBytes: number(),
    }),
  ),
  upstream: Type.Object({
    requests: count(),
    connectionsOpened: count(),
    concurrencyPeak: count(),
  }),
});

const settings = Type.Object({
  rounds: count(),
  seed: number(),
  connectionsMax: count(),
  warmupMs: share(),
  bootstrapResamples: Type.Integer({ minimum: 100 }),
  confidence: Type.Number({ exclusiveMinimum: 0.5, exclusiveMaximum: 1 }),
  equivalenceMin: Type.Number({ minimum: 0, exclusiveMaximum: 1 }),
});

export const resultsSchema = Type.Object(
  {
    $schema: text(),
    schemaVersion: Type.Integer({ minimum: 1, maximum: RESULTS_SCHEMA_VERSION }),
    kind: Type.Literal('onehop-study'),
    startedAt: text(),
    finishedAt: orNull(text()),
    complete: Type.Boolean({ description: 'false when the study was interrupted' }),
    command: text('the exact command to run it again'),
    rig,
    settings,
    entries: Type.Array(entry),
    cells: Type.Array(cell),
    measurements: Type.Array(measurement),
    audit: Type.Array(
      Type.Object({
        entry: text(),
        check: text(),
        verdict: Type.Union([
          Type.Literal('pass'),
          Type.Literal('fail'),
          Type.Literal('not-applicable'),
        ]),
        detail: text(),
        known: Type.Optional(Type.Boolean()),
      }),
    ),
    leftOut: Type.Array(text()),
    warnings: Type.Array(text()),
  },
  { $id: RESULTS_SCHEMA_ID, title: 'Results of a onehop study' },
);

/** The published text of the schema, draft 2020-12. */
export function resultsSchemaText(): string {
  const schema = { $schema: 'https://json-schema.org/draft/2020-12/schema', ...resultsSchema };
  return `${JSON.stringify(schema, null, 2)}\n`;
}

// Both directions, so that a field missing on either side is a compile error.
type Assignable<From extends To, To> = From;
export type SchemaCoversTypes = Assignable<StudyResults, Type.Static<typeof resultsSchema>>;
export type TypesCoverSchema = Assignable<Type.Static<typeof resultsSchema>, StudyResults>;
type SameKeys<A, B> = [Exclude<keyof A, keyof B>, Exclude<keyof B, keyof A>] extends [never, never]
  ? true
  : never;
type SchemaResults = Type.Static<typeof resultsSchema>;
/** Optional fields escape assignability, so their names are compared too. */
export const sameOptionalFields: [
  SameKeys<SchemaResults['entries'][number], StudyResults['entries'][number]>,
  SameKeys<SchemaResults['measurements'][number], StudyResults['measurements'][number]>,
] = [true, true];
