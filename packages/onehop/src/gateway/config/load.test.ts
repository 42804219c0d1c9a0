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

test('a trusted proxy that is no address was taken and never matched', () => {
  const more = (list: string): string => `${small}trustForwarded: [${list}]\n`;
  assert.deepEqual(listing(more('10.0.0.7, "fe80::1"')), []);
  const wrong = listing(more('10.0.0.0/8, balancer, 10.0.0.1, "fd00::/8"'));
  assert.deepEqual(
    wrong.map((line) => /^\d+ trustForwarded\[\d\]/.exec(line)?.[0]),
    ['9 trustForwarded[0]', '9 trustForwarded[1]', '9 trustForwarded[3]'],
    wrong.join(),
  );
});

test('the JSON Schema for editors knows the keys', () => {
  const schema = gatewayJsonSchema() as { properties: Record<string, unknown> };
  assert.ok('upstreams' in schema.properties && 'routes' in schema.properties);
});

test('what the YAML library throws for is a problem with its line and path', () => {
  const routes = 'routes: [{ path: /*, upstream: a }]\n';
  const start = 'upstreams:\n  a: { targets: ["http://h:1"] }\n';
  const cases: [text: string, problem: RegExp][] = [
    [`listen: *:8080\n${start}${routes}`, /^1 listen: \*:8080 is an alias of YAML/],
    [`${start}routes: [{ path: *, upstream: a }]`, /^3 /],
    [
      `${start}routes:\n  - { path: /*, upstream: *up }`,
      /^4 routes\[0\]\.upstream: \*up is an alias/,
    ],
    [`listen: *later\n${start}${routes}accessLog: &later off`, /^1 listen: \*later is an alias/],
    [`${start}routes: &r [*r]`, /^3 routes: |^3 routes\[0\]: /],
    [`upstreams: &u { a: *u }\n${routes}`, /^1 upstreams/],
    [`upstreams:\n  a: { targets: !!js/function "x" }\n${routes}`, /^2 : .*[Tt]ag/],
    [`upstreams:\n  <<: *base\n${routes}`, /^2 upstreams\.<<: \*base is an alias/],
    [`__proto__: { x: 1 }\n${start}${routes}`, /^1 __proto__: the key __proto__ is not allowed/],
    [`${start}routes:\n  - { __proto__: {}, upstream: a }`, /^4 routes\[0\]\.__proto__: /],
    [`? [a, b]\n: 1\n${start}${routes}`, /^1 .*a key must be plain text/],
    [`${start}${routes}---\nlisten: :80\n`, /^\d : a second document begins/],
    [`${start}${routes}accessLog: "./a\\0b"`, /^4 accessLog: must not hold a NUL byte/],
    [`${start}${routes}limits:\n  head: \${DEEP}`, /^5 limits\.head: expected a size/],
    [`${start}\troutes: x`, /^\d+ /],
    ['\0\0\0\0', /^1 /],
    ['just text', /^1 : expected keys with values, not "just text"/],
    ['- a', /^1 : expected keys with values, not a list/],
    [`${start}routes: ${'['.repeat(100_000)}`, /^3 : /],
    [`${start}routes:\n${'{a: '.repeat(100_000)}`, /^4 : /],
    [Array.from({ length: 20_000 }, (_, at) => `${' '.repeat(at)}- `).join('\n'), /^\d+ /],
  ];
  for (const [text, problem] of cases) {
    const problems = listing(text, { DEEP: '*anchor' });
    assert.match(problems[0] ?? 'none', problem, text.slice(0, 200));
  }
  const bomb = ['a: &a [x, x, x, x, x, x, x, x, x]'];
  for (let at = 1; at < 9; at++)
    bomb.push(`k${at}: &k${at} [${`*${at === 1 ? 'a' : `k${at - 1}`}, `.repeat(9)}]`);
  assert.match(listing(bomb.join('\n'))[0]!, /aliases stand for too much/);
  // What YAML can and a configuration may.
  const shared = `x-no: 1\n`;
  assert.match(listing(`${shared}${start}${routes}`)[0]!, /^1 x-no: unknown key/);
  const good = `upstreams:\n  a: { targets: [&t "http://h:1"] }\n  b: { targets: [*t] }\n${routes}`;
  assert.deepEqual(listing(good), []);
});

test('a value from the environment is text, whatever it looks like, and is never shown', () => {
  const base = (more: string, key = 'x', target = '"http://h:1"', upstream = 'a'): string =>
    `upstreams:\n  a:\n    targets:\n      - ${target}\n${more}routes:\n  - upstream: ${upstream}\n` +
    `    rewrite:\n      requestHeaders:\n        set:\n          x-key: ${key}\n`;
  // biome-ignore-start lint/suspicious/noTemplateCurlyInString: variables of the file
  const odd = ['abc #def', '12345678901234567890', '1e3', '*x', '&x', 'true', '[a, b]', '{a: b}'];
  for (const value of [...odd, '!x', 'a: b', '~', '0x10', '- a', '"', "'", '%', '@', '`']) {
    const { config, problems } = parseConfig(base('', '${KEY}'), { KEY: value });
    assert.deepEqual(problems, [], value);
    assert.equal(config?.routes[0]?.rewrite?.requestHeaders?.set['x-key'], value);
  }
  // Where a number or a boolean is wanted it is one.
  const typed = '    limits:\n      pending: ${N}\n    tls:\n      verify: ${V}\n';
  const { config } = parseConfig(base(typed), { N: '7', V: 'false' });
  assert.equal(config?.upstreams['a']?.limits.pendingMax, 7);
  assert.equal(config?.upstreams['a']?.tls?.verify, false);
  for (const text of [
    base('    limits:\n      pending: ${S}\n'),
    base('    balance: ${S}\n'),
    base('    timeouts: ${S}\n'),
    base('    tls:\n      ca: ${S}\n'),
    base('', 'x', '${S}'),
    base('', 'x', '"${S}/x"'),
    base('', 'x', '"http://h:${S}"'),
    base('', 'x', '"http://h:1"', '${S}'),
    `listen: "http://\${S}"\n${base('')}`,
    `workers: \${S}\n${base('')}`,
  ]) {
    for (const secret of ['sk-0123456789', '12345678901234567890']) {
      const problems = listing(text, { S: secret });
      assert.ok(problems.length > 0, text);
      assert.doesNotMatch(problems.join('\n'), /012345678/, text);
    }
  }
  // biome-ignore-end lint/suspicious/noTemplateCurlyInString: variables of the file
});
