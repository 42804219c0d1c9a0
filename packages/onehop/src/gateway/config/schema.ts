/**
 * The one schema of the gateway's configuration: it validates the file and the object given to
 * `createGateway`, fills in defaults, turns durations and sizes into numbers with their unit in the
 * name, and is the source of the JSON Schema for editors.
 */
import { z } from 'zod';
import { isIP } from '../../client/index.ts';
import { limits } from '../../core/index.ts';
import {
  type ListenAddress,
  parseListenAddress,
  parseTargetAddress,
  type TargetAddress,
} from './address.ts';
import {
  BYTES_PATTERN,
  DURATION_PATTERN,
  parseBytes,
  parseDurationMs,
  parseShare,
  SHARE_PATTERN,
} from './units.ts';

const {
  bodyBytesMax,
  chunkExtensionBytesMax,
  chunkExtensionsBytesMax,
  chunkSizeDigitsMax,
  connectionsPerOriginMax,
  connectTimeoutMs,
  expectTimeoutMs,
  firstByteTimeoutMs,
  firstRequestTimeoutMs,
  headBytesMax,
  headerBytesMax,
  headersCountMax,
  headTimeoutMs,
  idleTimeoutMs,
  interimResponsesMax,
  keepAliveTimeoutMs,
  lingerBytesMax,
  lingerTimeoutMs,
  poolIdleTimeoutMs,
  queueLengthMax,
  queueTimeoutMs,
  relayBufferBytesMax,
  requestBodyBytesPerSecondMin,
  requestBodyGapTimeoutMs,
  requestBodyGraceMs,
  requestHeadTimeoutMs,
  requestLineBytesMax,
  requestsPerConnectionMax,
  responseHeadBytesMax,
  responseHeadersCountMax,
  retryBackoffMs,
  retryBudgetMin,
  retryBudgetRatio,
  scanBytesMax,
  scansBytesMax,
  stalledReadAheadBytesMax,
  stalledReadersMax,
  totalTimeoutMs,
  trailerBytesMax,
  trailersCountMax,
  writeStallTimeoutMs,
} = limits;

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

const unit = (
  pattern: RegExp,
  parse: (value: string | number) => number | null,
  hint: string,
): z.ZodType<number, string | number> =>
  z
    .union([z.number(), z.string().regex(pattern, { error: hint })], { error: hint })
    .transform((value, context) => {
      const parsed = parse(value);
      if (parsed === null) {
        context.addIssue({ code: 'custom', message: hint, input: value });
        return z.NEVER;
      }
      return parsed;
    });

const duration = unit(
  DURATION_PATTERN,
  parseDurationMs,
  'expected a duration such as 500ms, 2s, 5m or 1h',
);
const bytes = unit(
  BYTES_PATTERN,
  parseBytes,
  'expected a size such as 16KiB, 64MiB or a number of bytes',
);
const share = unit(SHARE_PATTERN, parseShare, 'expected a share such as 20% or 0.2, at most 100%');
const count = z.int().min(1);
/** What is answered, with Retry-After, to what there is no room for now. */
const busyStatus = z.union([z.literal(503), z.literal(429)], { error: 'expected 503 or 429' });
const fieldName = z.string().regex(TOKEN, { error: 'expected a header name' });
// RFC 9110 §5.5: visible characters, space and tab; never CR, LF or NUL.
const fieldValue = z
  .string()
  .regex(/^[\t\x20-\x7e\x80-\xff]*$/, { error: 'a header value must not hold control characters' });

const listenAddress = z.union([z.int(), z.string()]).transform((value, context): ListenAddress => {
  const address = parseListenAddress(value);
  if (address !== null) return address;
  context.addIssue({
    code: 'custom',
    message: 'expected host:port, :port or unix:/path',
    input: value,
  });
  return z.NEVER;
});

const targetUrl = z.string().transform((value, context): TargetAddress => {
  const address = parseTargetAddress(value);
  if (typeof address !== 'string') return address;
  context.addIssue({ code: 'custom', message: address, input: value });
  return z.NEVER;
});

const target = z
  .union([
    targetUrl,
    z.strictObject({ url: targetUrl, weight: z.int().min(0).max(1000).default(1) }),
  ])
  .transform((value) =>
    'url' in value ? { ...value.url, weight: value.weight } : { ...value, weight: 1 },
  );

/** The five deadlines where neither upstream nor route says otherwise. */
const defaultTimeouts = {
  connectTimeoutMs,
  headTimeoutMs,
  firstByteTimeoutMs,
  idleTimeoutMs,
  totalTimeoutMs,
} as const;

const withoutUndefined = <T extends object>(value: T): { [K in keyof T]?: NonNullable<T[K]> } =>
  Object.fromEntries(Object.entries(value).filter(([, entry]) => entry !== undefined)) as {
    [K in keyof T]?: NonNullable<T[K]>;
  };

/** The five upstream deadlines; each also per route. */
const timeouts = z
  .strictObject({
    connect: duration.optional().describe('TCP and TLS'),
    head: duration.optional().describe('request sent to response head'),
    firstByte: duration.optional().describe('response head to first body byte'),
    idle: duration.optional().describe('between two body chunks'),
    total: duration.optional().describe('the whole exchange; 0 turns it off'),
  })
  .transform((given) => ({
    connectTimeoutMs: given.connect,
    headTimeoutMs: given.head,
    firstByteTimeoutMs: given.firstByte,
    idleTimeoutMs: given.idle,
    totalTimeoutMs: given.total,
  }));

const health = z
  .strictObject({
    path: z.string().startsWith('/').optional().describe('active probe; without it only passive'),
    interval: duration.default(5000),
    timeout: duration.default(2000),
    healthyAfter: count.default(2).describe('successful probes in a row'),
    unhealthyAfter: count.default(2).describe('failed probes in a row'),
    ejectAfter: count.default(5).describe('failed requests in a row; passive ejection'),
    ejectFor: duration.default(10_000).describe('grows with each ejection, up to ten times'),
  })
  .transform((given) => ({
    path: given.path ?? null,
    intervalMs: given.interval,
    timeoutMs: given.timeout,
    healthyAfter: given.healthyAfter,
    unhealthyAfter: given.unhealthyAfter,
    ejectAfter: given.ejectAfter,
    ejectForMs: given.ejectFor,
  }));

const upstreamLimits = z
  .strictObject({
    pending: count.default(1024).describe('requests under way to the whole upstream'),
    pendingPerTarget: count.default(1024).describe('requests under way to one target'),
    queue: z.int().min(0).default(queueLengthMax).describe('requests waiting beyond that'),
    queueStatus: busyStatus
      .default(503)
      .describe('answer when the queue is full, with Retry-After: 503 or 429'),
    queueWait: duration.default(queueTimeoutMs).describe('then queueWaitStatus'),
    queueWaitStatus: busyStatus
      .default(503)
      .describe('answer when the wait was too long, with Retry-After: 503 or 429'),
    connections: count.default(connectionsPerOriginMax).describe('connections to one target'),
    responseHead: bytes.default(responseHeadBytesMax).describe('largest response head; else 502'),
    responseHeaders: count
      .default(responseHeadersCountMax)
      .describe('number of response header fields; else 502'),
    interim: count.default(interimResponsesMax).describe('1xx before the final response; else 502'),
    poolIdle: duration.default(poolIdleTimeoutMs).describe('idle connections retire after this'),
  })
  .transform((given) => ({
    pendingMax: given.pending,
    pendingPerTargetMax: given.pendingPerTarget,
    queueLengthMax: given.queue,
    queueFullStatus: given.queueStatus,
    queueTimeoutMs: given.queueWait,
    queueTimeoutStatus: given.queueWaitStatus,
    connectionsMax: given.connections,
    responseHeadBytesMax: given.responseHead,
    responseHeadersCountMax: given.responseHeaders,
    interimResponsesMax: given.interim,
    poolIdleTimeoutMs: given.poolIdle,
  }));

const attempts = z.int().min(1).max(10).default(2).describe('tries in all, the first included');

const retry = z
  .strictObject({
    attempts,
    backoff: duration
      .default(retryBackoffMs)
      .describe('a random pause up to this before the second try, up to twice it before the third'),
    budget: share
      .default(retryBudgetRatio)
      .describe('share of active requests that may be retries'),
    budgetMin: z.int().min(0).default(retryBudgetMin).describe('retries always allowed'),
  })
  .transform((given) => ({
    attemptsMax: given.attempts,
    backoffMs: given.backoff,
    budgetRatio: given.budget,
    budgetMin: given.budgetMin,
  }));

const breaker = z
  .strictObject({
    errorShare: share.default(0.5).describe('of the last requests, before the breaker opens'),
    minRequests: count.default(20).describe('in the window, before it may open'),
    window: duration.default(10_000),
    openFor: duration.default(5000).describe('then single requests probe'),
  })
  .transform((given) => ({
    errorShare: given.errorShare,
    requestsMin: given.minRequests,
    windowMs: given.window,
    openForMs: given.openFor,
  }));

const hashOn = z.union(
  [z.strictObject({ header: fieldName }), z.strictObject({ param: z.string().min(1) })],
  { error: 'expected { header: name } or { param: name }' },
);

/** What the files of `tls` hold, PEM; filled in by `readMaterial`, so that nobody else reads them. */
export interface TlsMaterial {
  ca: string | null;
  cert: string | null;
  key: string | null;
}

const noMaterial = (): TlsMaterial => ({ ca: null, cert: null, key: null });

const upstream = z
  .strictObject({
    protocol: z
      .enum(['openai', 'kserve-v2', 'custom'])
      .default('custom')
      .describe('dialect of error bodies'),
    targets: z.array(target).min(1, { error: 'an upstream needs at least one target' }),
    balance: z
      .enum(['round-robin', 'weighted', 'least-pending', 'p2c', 'hash'])
      .default('least-pending')
      .describe('how a target is chosen; hash needs the key `hash`'),
    hash: hashOn.optional(),
    timeouts: timeouts.prefault({}),
    health: health.prefault({}),
    limits: upstreamLimits.prefault({}),
    retry: retry.prefault({}),
    breaker: breaker.optional(),
    slowStart: duration
      .default(0)
      .describe('a target that comes back is given its share over this time'),
    dnsRefresh: duration
      .default(30_000)
      .describe(
        'host names are looked up again this often; each of several addresses is a target of its own',
      ),
    dnsGoneAfter: count
      .default(1)
      .describe(
        'an address has left its name when so many answers in a row lack it; more for servers that answer with some of many',
      ),
    pipelining: z
      .int()
      .min(1)
      .max(64)
      .default(1)
      .describe('requests in flight per connection; 1 is off'),
    expect: z
      .enum(['forward', 'answer'])
      .default('forward')
      .describe(
        'who answers Expect: 100-continue, the target or the gateway; forward: a refusal costs no upload',
      ),
    expectWait: duration
      .default(expectTimeoutMs)
      .describe('a target that has not answered the expectation by then is sent the body'),
    preserveHost: z
      .boolean()
      .default(true)
      .describe("send on the caller's Host instead of the target's"),
    tls: z
      .strictObject({
        ca: z.string().optional().describe('file of PEM certificates; read with the configuration'),
        cert: z.string().optional().describe("file of the gateway's own certificate, with `key`"),
        key: z.string().optional().describe('file of its private key, not encrypted'),
        serverName: z.string().optional(),
        verify: z.boolean().default(true),
      })
      .transform((given) => ({ ...given, material: noMaterial() }))
      .optional(),
  })
  .transform(({ slowStart, dnsRefresh, expectWait, timeouts: given, ...rest }) => ({
    ...rest,
    expectWaitMs: expectWait,
    slowStartMs: slowStart,
    dnsRefreshMs: dnsRefresh,
    timeouts: { ...defaultTimeouts, ...withoutUndefined(given) },
  }));

const headerRules = z.strictObject({
  set: z.record(fieldName, fieldValue).default({}),
  remove: z.array(fieldName).default([]),
});

const route = z.strictObject({
  path: z
    .string()
    .regex(/^\/[^?#\s]*$/, { error: 'a path starts with / and has no query' })
    .refine((path) => !path.includes('*') || /^[^*]*\/\*$/.test(path), {
      error: '* may only stand last, after a /',
    })
    .refine((path) => !/(^|\/)\.{1,2}(\/|$)|\/\/|%2e|%2f|%5c|\\/i.test(path), {
      error: 'a route path must be in normal form: no empty or dot segments, no encoded / \\ .',
    })
    .default('/*')
    .describe('exact /x, prefix /x/*, parameters /models/:name/infer'),
  host: z.string().min(1).optional().describe('exact host name; without it any'),
  methods: z.array(z.string().regex(TOKEN)).min(1).optional().describe('without it all'),
  headers: z.record(fieldName, z.string()).default({}).describe('exact values that must be there'),
  models: z.array(z.string().min(1)).min(1).optional().describe('names or globs such as llama-*'),
  upstream: z.string(),
  rewrite: z
    .strictObject({
      prefix: z
        .string()
        .regex(/^(\/[^?#\s]*)?$/)
        .optional()
        .describe('replaces the part before the *'),
      requestHeaders: headerRules.optional(),
      responseHeaders: headerRules.optional(),
    })
    .optional(),
  timeouts: timeouts.optional(),
  retry: z
    .strictObject({ attempts })
    .transform((given) => ({ attemptsMax: given.attempts }))
    .optional(),
  bodyMax: bytes.optional().describe('largest request body; default: limits.body'),
  sseKeepAlive: duration
    .optional()
    .describe('comment sent on event boundaries while the stream is silent'),
  serverTiming: z
    .boolean()
    .default(false)
    .describe('a Server-Timing field in every response: own time and time to the upstream head'),
});

const downstreamLimits = z
  .strictObject({
    requestLine: bytes.default(requestLineBytesMax).describe('else 414'),
    head: bytes.default(headBytesMax).describe('all header fields together; else 431'),
    headers: count.default(headersCountMax).describe('number of header fields; else 431'),
    header: bytes.default(headerBytesMax).describe('one header field, name and value; else 431'),
    trailers: bytes.default(trailerBytesMax).describe('all trailer fields together; else 400'),
    trailerFields: count.default(trailersCountMax).describe('number of trailer fields; else 400'),
    chunkExtension: bytes
      .default(chunkExtensionBytesMax)
      .describe('extensions of one chunk; else 400'),
    chunkExtensions: bytes
      .default(chunkExtensionsBytesMax)
      .describe('extensions of all chunks of a body; else 400'),
    chunkSizeDigits: z
      .int()
      .min(1)
      .max(16)
      .default(chunkSizeDigitsMax)
      .describe('digits of a chunk size, leading zeros included; else 400'),
    body: bytes.default(bodyBytesMax).describe('request body; else 413'),
    scan: bytes
      .default(scanBytesMax)
      .describe('kept of a request body until its model is found, for `models`; else 413'),
    scans: bytes
      .default(scansBytesMax)
      .describe('kept so of all requests together; else 503 with Retry-After'),
    connections: count
      .optional()
      .describe(
        'open connections; else 503 with Retry-After. Default: 40 % of the open files allowed',
      ),
    connectionsPerAddress: count
      .optional()
      .describe(
        'open connections of one address that is not in trustForwarded; else connectionsPerAddressStatus. Default: only connections counts',
      ),
    connectionsPerAddressStatus: busyStatus
      .default(503)
      .describe('answer to connections beyond that, with Retry-After: 503 or 429'),
    requestsPerConnection: count
      .default(requestsPerConnectionMax)
      .describe('the last response says Connection: close'),
    readAhead: bytes
      .default(relayBufferBytesMax)
      .describe('pipelined or paused bytes kept for a connection, then reading stops'),
    stalledReadAhead: bytes
      .default(stalledReadAheadBytesMax)
      .describe('the same for a caller that was held up for a second, to hear when it leaves'),
    stalledReaders: z
      .int()
      .min(0)
      .default(stalledReadersMax)
      .describe('callers at a time that are read so far ahead'),
    firstRequest: duration.default(firstRequestTimeoutMs).describe('connect to first byte'),
    headTime: duration.default(requestHeadTimeoutMs).describe('for the whole head; else 408'),
    bodyGap: duration.default(requestBodyGapTimeoutMs).describe('between reads; else 408'),
    bodyRate: bytes
      .default(requestBodyBytesPerSecondMin)
      .describe('bytes per second, at least; else 408'),
    bodyGrace: duration.default(requestBodyGraceMs).describe('bodyRate counts after this'),
    keepAlive: duration.default(keepAliveTimeoutMs).describe('between two requests'),
    writeStall: duration.default(writeStallTimeoutMs).describe('caller takes nothing; then reset'),
    linger: bytes
      .default(lingerBytesMax)
      .describe('read and dropped behind an early answer, so that it can be read'),
    lingerTime: duration.default(lingerTimeoutMs).describe('and for how long'),
  })
  .transform((given) => ({
    requestLineBytesMax: given.requestLine,
    headBytesMax: given.head,
    headersCountMax: given.headers,
    headerBytesMax: given.header,
    trailerBytesMax: given.trailers,
    trailersCountMax: given.trailerFields,
    chunkExtensionBytesMax: given.chunkExtension,
    chunkExtensionsBytesMax: given.chunkExtensions,
    chunkSizeDigitsMax: given.chunkSizeDigits,
    bodyBytesMax: given.body,
    scanBytesMax: given.scan,
    scansBytesMax: given.scans,
    connectionsMax: given.connections ?? null,
    connectionsPerAddressMax: given.connectionsPerAddress ?? null,
    connectionsPerAddressStatus: given.connectionsPerAddressStatus,
    requestsPerConnectionMax: given.requestsPerConnection,
    readAheadBytesMax: given.readAhead,
    stalledReadAheadBytesMax: given.stalledReadAhead,
    stalledReadersMax: given.stalledReaders,
    lingerBytesMax: given.linger,
    lingerTimeoutMs: given.lingerTime,
    firstRequestTimeoutMs: given.firstRequest,
    requestHeadTimeoutMs: given.headTime,
    requestBodyGapTimeoutMs: given.bodyGap,
    requestBodyBytesPerSecondMin: given.bodyRate,
    requestBodyGraceMs: given.bodyGrace,
    keepAliveTimeoutMs: given.keepAlive,
    writeStallTimeoutMs: given.writeStall,
  }));

export const gatewaySchema = z.strictObject({
  listen: z
    .union([listenAddress, z.array(listenAddress).min(1)])
    .default({ host: '127.0.0.1', port: 8080, path: null })
    .transform((value) => (Array.isArray(value) ? value : [value])),
  admin: listenAddress.optional().describe('health, metrics, status; never on the public listener'),
  workers: z.int().min(1).max(256).default(1).describe('processes that share the work'),
  upstreams: z.record(z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_-]*$/), upstream),
  routes: z.array(route).min(1, { error: 'without a route every request is refused' }),
  limits: downstreamLimits.prefault({}),
  trustForwarded: z
    .array(
      z.string().refine((text) => isIP(text) && !text.includes('/'), {
        error: 'give an IP address; networks (10.0.0.0/8) and names are not understood here',
      }),
    )
    .default([])
    .describe(
      'addresses of proxies whose X-Forwarded-* is kept and appended to; limits.connectionsPerAddress does not hold for them',
    ),
  drain: z
    .strictObject({
      announce: duration.default(0).describe('readiness fails this long before accepting stops'),
      idle: duration
        .default(1000)
        .describe('idle connections may bring one more request in this time'),
      grace: duration.default(30_000).describe('open exchanges may go on this long'),
    })
    .prefault({})
    .transform((given) => ({
      announceMs: given.announce,
      idleMs: given.idle,
      graceMs: given.grace,
    })),
  accessLog: z
    .union(
      [
        z.literal('off'),
        z.literal('stdout'),
        z.string().startsWith('/'),
        z.string().startsWith('./'),
      ],
      { error: 'expected off, stdout or a path that begins with / or ./' },
    )
    .default('off')
    .describe('off, stdout or a file; SIGUSR2 reopens it'),
});

/** What a user writes. */
export type GatewayConfigInput = z.input<typeof gatewaySchema>;
/** Validated, with defaults, numbers in the unit their name says. */
export type GatewayConfig = z.output<typeof gatewaySchema>;
export type UpstreamConfig = GatewayConfig['upstreams'][string];
export type RouteConfig = GatewayConfig['routes'][number];
export type TargetConfig = UpstreamConfig['targets'][number];

/** An address as people write it; everything else as it is. */
const asWritten = (value: unknown): unknown => {
  if (typeof value !== 'object' || value === null || !('port' in value)) return value;
  const { host, port } = value as ListenAddress;
  return `${host}:${port}`;
};

/** JSON Schema (2020-12) of the file, for editors. */
export function gatewayJsonSchema(): object {
  return z.toJSONSchema(gatewaySchema, {
    io: 'input',
    unrepresentable: 'any',
    override({ zodSchema, jsonSchema }) {
      // Defaults behind a conversion of units are left out by the library.
      const { def } = zodSchema._zod;
      if (def.type === 'default') jsonSchema.default = asWritten(def.defaultValue) as never;
      // What whole numbers can be at most in JavaScript is no rule of the file.
      if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum;
      if (jsonSchema.minimum === Number.MIN_SAFE_INTEGER) delete jsonSchema.minimum;
    },
  });
}
