import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseListenAddress, parseTargetAddress } from './address.ts';
import { checkConfig, parseConfig } from './load.ts';
import { gatewayJsonSchema } from './schema.ts';
import { parseBytes, parseDurationMs, parseShare } from './units.ts';

const listing = (text: string, env: Record<string, string> = {}): string[] =>
  parseConfig(text, env).problems.map(({ path, line, message }) => `${line} ${path}: ${message}`);

const small = `
listen: 127.0.0.1:\${PORT:-8081}
upstreams:
  llm:
    targets: [http://10.0.0.1:8000, { url: "http://10.0.0.2:8000/base/", weight: 3 }]
    timeouts: { connect: 1s, idle: 1.5s }
routes:
  - { path: /v1/*, upstream: llm, bodyMax: 2MiB, timeouts: { total: 0 } }
`;

test('a small file gets every default, in the unit its name says', () => {
  const { config, problems } = parseConfig(small, {});
  assert.deepEqual(problems, []);
  assert.deepEqual(config?.listen, [{ host: '127.0.0.1', port: 8081, path: null }]);
  const llm = config?.upstreams['llm'];
  assert.equal(llm?.timeouts.connectTimeoutMs, 1000);
  assert.equal(llm?.timeouts.idleTimeoutMs, 1500);
  assert.equal(llm?.timeouts.totalTimeoutMs, 900_000);
  assert.equal(llm?.targets[1]?.pathPrefix, '/base');
  assert.equal(llm?.targets[1]?.weight, 3);
  assert.equal(config?.routes[0]?.bodyMax, 2 * 1024 * 1024);
  assert.equal(config?.routes[0]?.timeouts?.totalTimeoutMs, 0);
});

test('every problem of a file is listed at once, with line, path and suggestion', () => {
  const problems = listing(`listen: 0.0.0.0:99999
upstreems: {}
upstreams:
  llm:
    protocol: openia
    targets: [http://10.0.0.1:8000, "ftp://x", "http://u:p@h/"]
    balance: least-pendin
    timeouts: { conect: 1s, head: 5 parsecs }
routes:
  - { path: v1/*, upstream: llm }
  - { path: /a/*/b, upstream: lmm }
  - { path: "/\${NOPE}/*", upstream: llm }
`);
  assert.deepEqual(problems, [
    '1 listen: expected host:port, :port or unix:/path',
    '2 upstreems: unknown key; did you mean upstreams?',
    '5 upstreams.llm.protocol: expected one of openai, kserve-v2, custom; did you mean openai?',
    '6 upstreams.llm.targets[1]: scheme ftp is not supported; use http or https',
    '6 upstreams.llm.targets[2]: credentials do not belong in a target URL',
    '7 upstreams.llm.balance: expected one of round-robin, weighted, least-pending, p2c, hash; did you mean least-pending?',
    '8 upstreams.llm.timeouts.head: expected a duration such as 500ms, 2s, 5m or 1h',
    '8 upstreams.llm.timeouts.conect: unknown key; did you mean connect?',
    '10 routes[0].path: a path starts with / and has no query',
    '11 routes[1].path: * may only stand last, after a /',
    '11 routes[1].upstream: no upstream is named lmm; did you mean llm?',
    '12 routes[2].path: environment variable NOPE is not set',
  ]);
});

test('what people write wrongly is answered in the words of the file', () => {
  const problems = listing(`listen: 127.0.0.1:8080
workers: many
upstreams:
  one: { targets: "http://127.0.0.1:8000", breaker: true, health: /healthz }
  llm: { targets: ["127.0.0.1:8000", "http://x:99999"], limits: { pending: 0, queue: 1.5 } }
routes: { path: /*, upstream: llm }
accessLog: access.log
drain: 30s
limits: { keepalive: 5s, header: 16 KB }
`);
  assert.deepEqual(problems, [
    '2 workers: expected a number, not "many"',
    '4 upstreams.one.targets: expected a list, not "http://127.0.0.1:8000"; write [a, b], or begin the line of each entry with -',
    '4 upstreams.one.health: expected keys with values, not "/healthz"',
    '4 upstreams.one.breaker: expected keys with values, not true',
    '5 upstreams.llm.targets[0]: not a URL; did you mean http://127.0.0.1:8000?',
    '5 upstreams.llm.targets[1]: the port 99999 is not from 1 to 65535',
    '5 upstreams.llm.limits.pending: must be at least 1',
    '5 upstreams.llm.limits.queue: expected a whole number, not 1.5',
    '6 routes: expected a list, not keys with values; write [a, b], or begin the line of each entry with -',
    '7 accessLog: expected off, stdout or a path that begins with / or ./',
    '8 drain: expected keys with values, not "30s"',
    '9 limits.header: expected a size such as 16KiB, 64MiB or a number of bytes',
    '9 limits.keepalive: unknown key; did you mean keepAlive?',
  ]);
  assert.deepEqual(listing('- a\n- b\n'), ['1 : expected keys with values, not a list']);
  assert.deepEqual(listing('upstreams:\n  a: {}\n  a: {}\n'), ['3 : the key a is there twice']);
  assert.deepEqual(listing(''), ['1 upstreams: is required', '1 routes: is required']);
});

test('a broken YAML text is a problem with its line, not an exception', () => {
  const problems = parseConfig('listen: [1\nroutes: {', {}).problems;
  assert.ok(problems.length > 0);
  assert.ok(problems.every(({ line }) => line !== null && line >= 1));
  assert.equal(parseConfig('a: 1\na: 2\n', {}).config, null);
  assert.equal(parseConfig('', {}).config, null);
});

test('a variable replaces a value and can never add structure', () => {
  const env = { PORT: '9000', EVIL: 'x, upstream: other' };
  const { config } = parseConfig(small, env);
  assert.equal(config?.listen[0]?.port, 9000);
  const host = parseConfig(small.replace('{ path: /v1/*,', '{ path: /v1/*, host: "${EVIL}",'), env);
  assert.equal(host.config?.routes[0]?.host, 'x, upstream: other');
  assert.equal(host.config?.routes[0]?.upstream, 'llm');
});

test('what only several fields together show is found', () => {
  const base = { upstreams: { a: { targets: ['http://127.0.0.1:1'] } } };
  const paths = (value: unknown): string[] => checkConfig(value).problems.map(({ path }) => path);
  const route = { upstream: 'a' };
  assert.deepEqual(paths({ ...base, routes: [route] }), []);
  assert.deepEqual(paths({ ...base, routes: [route, route] }), ['routes[1]']);
  assert.deepEqual(paths({ ...base, routes: [route], listen: ':80', admin: '127.0.0.1:80' }), [
    'admin',
  ]);
  const twice = { a: { targets: ['http://h:1', 'http://h:1/'], balance: 'hash' } };
  assert.deepEqual(paths({ upstreams: twice, routes: [route] }), [
    'upstreams.a.balance',
    'upstreams.a.targets[1]',
  ]);
  const noWeight = { a: { targets: [{ url: 'http://h:1', weight: 0 }] } };
  assert.deepEqual(paths({ upstreams: noWeight, routes: [route] }), ['upstreams.a.targets']);
});

test('addresses and units', () => {
  assert.deepEqual(parseListenAddress('[::1]:80'), { host: '::1', port: 80, path: null });
  assert.deepEqual(parseListenAddress(':80'), { host: '0.0.0.0', port: 80, path: null });
  assert.deepEqual(parseListenAddress('unix:/a'), { host: '', port: 0, path: '/a' });
  for (const bad of ['', 'host', ':70000', 'a b:80', '::1:80', 'unix:', -1]) {
    assert.equal(parseListenAddress(bad), null, String(bad));
  }
  assert.equal(typeof parseTargetAddress('grpc://h:1'), 'string');
  assert.equal(typeof parseTargetAddress('http://h/?q'), 'string');
  assert.equal(parseDurationMs('1.5s'), 1500);
  assert.equal(parseDurationMs('1 s'), null);
  assert.equal(parseDurationMs(-1), null);
  assert.equal(parseBytes('16KiB'), 16_384);
  assert.equal(parseBytes('9e99'), null);
  assert.equal(parseShare('20%'), 0.2);
  assert.equal(parseShare('120%'), null);
});

test('the JSON Schema for editors knows the keys', () => {
  const schema = gatewayJsonSchema() as { properties: Record<string, unknown> };
  assert.ok('upstreams' in schema.properties && 'routes' in schema.properties);
});
