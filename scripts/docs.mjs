// Writes docs/reference/{errors,limits,config,metrics}.md and the gateway's JSON Schema for editors
// from the tables in the code.
// `--check` writes nothing and exits 1 when a file is out of step; test/tidy calls it so.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ERRORS } from '../packages/onehop/dist/core/index.js';
import { gatewayJsonSchema } from '../packages/onehop/dist/gateway/index.js';
import { METRICS } from '../packages/onehop/dist/telemetry/index.js';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

const RETRY = {
  never: 'never',
  always: 'yes: provably not processed',
  'if-reused': 'when the connection was reused and no byte came back',
  'if-idempotent': 'only idempotent methods',
};

function errorsPage() {
  const rows = Object.entries(ERRORS).map(
    ([code, { side, status, retry, help }]) =>
      `| \`${code}\` | ${side} | ${status} | ${RETRY[retry]} | ${help} |`,
  );
  return [
    '# Errors',
    '',
    'Every failure is an `OnehopError` with a `code` from this table (`packages/onehop/src/core/errors.ts`).',
    'Test by `error.code`. `error.phase` says where it happened, `error.upstream` at which origin, `error.cause`',
    'what the runtime said. Status is what a gateway answers with; 499 is only ever logged. For `QUEUE_FULL` and',
    "`QUEUE_TIMEOUT` it is 429 where `queueStatus` and `queueWaitStatus` of the upstream's `limits` say so.",
    '',
    '| code | side | status | sent again? | meaning |',
    '|---|---|--:|---|---|',
    ...rows,
    '',
  ].join('\n');
}

/** Where each limit is set. Every one must be: a limit that nobody can change is a trap. */
const LIMIT_KEYS = {
  requestLineBytesMax: 'limits.requestLine',
  headBytesMax: 'limits.head',
  headersCountMax: 'limits.headers',
  headerBytesMax: 'limits.header',
  responseHeadBytesMax: 'upstreams.<name>.limits.responseHead',
  responseHeadersCountMax: 'upstreams.<name>.limits.responseHeaders',
  interimResponsesMax: 'upstreams.<name>.limits.interim',
  trailerBytesMax: 'limits.trailers',
  trailersCountMax: 'limits.trailerFields',
  chunkExtensionBytesMax: 'limits.chunkExtension',
  chunkExtensionsBytesMax: 'limits.chunkExtensions',
  chunkSizeDigitsMax: 'limits.chunkSizeDigits',
  bodyBytesMax: 'limits.body',
  scanBytesMax: 'limits.scan',
  scansBytesMax: 'limits.scans',
  relayBufferBytesMax: 'limits.readAhead',
  stalledReadAheadBytesMax: 'limits.stalledReadAhead',
  stalledReadersMax: 'limits.stalledReaders',
  lingerBytesMax: 'limits.linger',
  firstRequestTimeoutMs: 'limits.firstRequest',
  requestHeadTimeoutMs: 'limits.headTime',
  requestBodyGapTimeoutMs: 'limits.bodyGap',
  requestBodyBytesPerSecondMin: 'limits.bodyRate',
  requestBodyGraceMs: 'limits.bodyGrace',
  keepAliveTimeoutMs: 'limits.keepAlive',
  requestsPerConnectionMax: 'limits.requestsPerConnection',
  writeStallTimeoutMs: 'limits.writeStall',
  lingerTimeoutMs: 'limits.lingerTime',
  connectTimeoutMs: 'upstreams.<name>.timeouts.connect',
  headTimeoutMs: 'upstreams.<name>.timeouts.head',
  expectTimeoutMs: 'upstreams.<name>.expectWait',
  firstByteTimeoutMs: 'upstreams.<name>.timeouts.firstByte',
  idleTimeoutMs: 'upstreams.<name>.timeouts.idle',
  totalTimeoutMs: 'upstreams.<name>.timeouts.total',
  poolIdleTimeoutMs: 'upstreams.<name>.limits.poolIdle',
  connectionsPerAddressMax: 'limits.connectionsPerAddress',
  connectionsPerOriginMax: 'upstreams.<name>.limits.connections',
  queueLengthMax: 'upstreams.<name>.limits.queue',
  queueTimeoutMs: 'upstreams.<name>.limits.queueWait',
  retriesMax: 'upstreams.<name>.retry.attempts',
  retryBudgetRatio: 'upstreams.<name>.retry.budget',
  retryBudgetMin: 'upstreams.<name>.retry.budgetMin',
  retryBackoffMs: 'upstreams.<name>.retry.backoff',
};

/** One row per exported number of core/limits.ts, with its docstring. */
function limitsPage() {
  const source = readFileSync(join(root, 'packages/onehop/src/core/limits.ts'), 'utf8');
  const rows = [
    ...source.matchAll(
      /\/\*\*((?:(?!\*\/)[\s\S])*)\*\/\s*(?:export const )?(\w+)\s*[:=]\s*([^;,\n]+)[;,]/g,
    ),
  ].map(([, comment, name, value]) => {
    const key = LIMIT_KEYS[name];
    if (key === undefined) throw new Error(`${name} of core/limits.ts has no configuration key`);
    const meaning = comment.replace(/\s*\n\s*\*\s?/g, ' ').replace(/\{@link (\w+)\}/g, '`$1`');
    const standard = value.trim() === 'Number.POSITIVE_INFINITY' ? 'none' : value.trim();
    return `| \`${name}\` | \`${standard}\` | \`${key}\` | ${meaning.trim()} |`;
  });
  return [
    '# Limits',
    '',
    'Defaults from `packages/onehop/src/core/limits.ts`, and where each is set in the configuration of the',
    'gateway. `test/e2e/gateway-limits.test.ts` reads this table: it sets each of them in a live gateway and',
    'checks that what is within passes and what is beyond is stopped. `retriesMax` counts the tries after the',
    'first, `retry.attempts` all of them.',
    '',
    'Beyond these, `limits.connections` bounds the open connections of a process (default: 40 % of its open',
    'files, as each may need an upstream connection; 503 beyond it), and `upstreams.<name>.limits.pending` and',
    '`pendingPerTarget` the requests under way (default 1,024 each; beyond it they queue).',
    '',
    '| name | default | configuration | meaning |',
    '|---|---|---|---|',
    ...rows,
    '',
  ].join('\n');
}

/** The kinds of values people write, by how the schema spells them. */
function kindOf(schema) {
  const text = JSON.stringify(schema);
  if (text.includes('(ms|s|m|h)')) return 'duration';
  if (text.includes('KiB')) return 'size';
  if (text.includes('%$')) return 'share';
  if (Array.isArray(schema.enum)) return schema.enum.map((value) => `\`${value}\``).join(', ');
  if (Array.isArray(schema.type)) return schema.type.map((type) => kindOf({ type })).join(' or ');
  if (schema.type !== undefined) return schema.type === 'integer' ? 'number' : schema.type;
  const kinds = (schema.anyOf ?? []).map((one) => (one.const ? `\`${one.const}\`` : kindOf(one)));
  return [...new Set(kinds)].join(' or ');
}

const cell = (text) => String(text).replaceAll('|', '\\|');

/** `list[]`, `map.<name>`: a row for each key that holds a value. */
function configRows(schema, path) {
  if (schema.properties !== undefined) {
    const required = new Set(schema.required ?? []);
    return Object.entries(schema.properties).flatMap(([key, value]) =>
      configRows(
        required.has(key) ? { ...value, isRequired: true } : value,
        path === '' ? key : `${path}.${key}`,
      ),
    );
  }
  if (schema.items?.properties !== undefined) return configRows(schema.items, `${path}[]`);
  if (schema.additionalProperties?.properties !== undefined) {
    return configRows(schema.additionalProperties, `${path}.<name>`);
  }
  const kind = schema.type === 'array' ? `list of ${kindOf(schema.items)}` : kindOf(schema);
  const given = schema.default === undefined ? '' : `\`${JSON.stringify(schema.default)}\``;
  const standard = schema.isRequired === true ? 'required' : given;
  return [
    `| \`${path}\` | ${cell(kind)} | ${cell(standard)} | ${cell(schema.description ?? '')} |`,
  ];
}

function configPage(schema) {
  return [
    '# Configuration of the gateway',
    '',
    'Every key of `onehop.yaml` and of the object that `createGateway` takes, from the schema that checks it',
    '(`packages/onehop/src/gateway/config/schema.ts`). Durations are `500ms`, `2s`, `5m`, `1h` or a number of',
    'milliseconds, sizes `16KiB`, `64MiB` or a number of bytes, shares `20%` or `0.2`. `${NAME}` and',
    '`${NAME:-default}` in values are replaced from the environment. Defaults of durations are in milliseconds,',
    'of sizes in bytes. `onehop check FILE` names every problem.',
    '',
    'For completion and checks in an editor, write this as the first line of the file:',
    '',
    '```yaml',
    '# yaml-language-server: $schema=./node_modules/onehop/schema/onehop.schema.json',
    '```',
    '',
    '| key | value | default | meaning |',
    '|---|---|---|---|',
    ...configRows(schema, ''),
    '',
  ].join('\n');
}

function metricsPage() {
  const rows = Object.entries(METRICS).map(
    ([name, { type, labels, help }]) =>
      `| \`${name}\` | ${type} | ${labels.map((label) => `\`${label}\``).join(' ')} | ${cell(help)} |`,
  );
  return [
    '# Metrics of the gateway',
    '',
    'What `/metrics` on the admin listener shows, from `packages/onehop/src/telemetry/catalogue.ts`. Labels are',
    'configured names, fixed words and status classes, never anything a caller sends: the number of series is',
    'bounded by the configuration. `route` is the path of the route as configured, with its index where a path',
    'is configured more than once; both `route` and `upstream` are empty for requests that no route took. With',
    'workers, counters and histograms are added up over all of them, those that ended included.',
    '',
    '| name | type | labels | meaning |',
    '|---|---|---|---|',
    ...rows,
    '',
  ].join('\n');
}

const schema = {
  ...gatewayJsonSchema(),
  title: 'onehop gateway',
};
const pages = [
  ['docs/reference/errors.md', errorsPage()],
  ['docs/reference/config.md', configPage(schema)],
  ['docs/reference/metrics.md', metricsPage()],
  ['packages/onehop/schema/onehop.schema.json', `${JSON.stringify(schema, null, 2)}\n`],
];
if (existsSync(join(root, 'packages/onehop/src/core/limits.ts'))) {
  pages.push(['docs/reference/limits.md', limitsPage()]);
}
let stale = 0;
for (const [path, text] of pages) {
  const file = join(root, path);
  if (process.argv.includes('--check')) {
    if (!existsSync(file) || readFileSync(file, 'utf8') !== text) {
      console.error(`${path} is out of step with the code: run \`npm run docs\``);
      stale += 1;
    }
  } else {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
    console.log(`wrote ${path}`);
  }
}
process.exit(stale > 0 ? 1 : 0);
