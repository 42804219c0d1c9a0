import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkConfig } from '../config/load.ts';
import { JsonScanner, ScanState } from './json-scanner.ts';
import { type NormalisedPath, normalisePath, PathProblem } from './path.ts';
import { pathParam, type Route, RouteMiss, Router, rewriteTarget } from './router.ts';

const normal = (path: string): string | number => {
  const out: NormalisedPath = { path: '', problem: PathProblem.None };
  normalisePath(path, out);
  return out.problem === PathProblem.None ? out.path : out.problem;
};

test('equivalent spellings of a path are routed alike', () => {
  assert.equal(normal('/v1/chat'), '/v1/chat');
  assert.equal(normal('/%76%31/ch%61t'), '/v1/chat');
  assert.equal(normal('//v1///chat'), '/v1/chat');
  assert.equal(normal('/a%c3%a9'), '/a%C3%A9');
  assert.equal(normal('/%252e%252e/x'), '/%252e%252e/x');
  assert.equal(normal('/a.b/...x/.hidden'), '/a.b/...x/.hidden');
  assert.equal(normal('/a%0d%0aX:1'), '/a%0D%0AX:1');
});

test('ambiguous spellings of a path are refused', () => {
  for (const path of [
    '/a/../b',
    '/%2e%2e/b',
    '/a/.%2e/b',
    '/./b',
    '/a/..',
    '/a/.',
    '/a/..;x=y/b',
    '/.;a',
  ]) {
    assert.equal(normal(path), PathProblem.DotSegment, path);
  }
  for (const path of ['/a%2fb', '/a%2Fb', '/a%5cb']) {
    assert.equal(normal(path), PathProblem.EncodedSeparator, path);
  }
  for (const path of ['/a%00', '/%zz', '/%', '/%0']) {
    assert.equal(normal(path), PathProblem.BadEscape, path);
  }
  assert.equal(normal('/a\\..\\b'), PathProblem.Backslash);
});

function router(...routes: object[]): Router {
  const { config, problems } = checkConfig({
    upstreams: { a: { targets: ['http://127.0.0.1:1'] } },
    routes: routes.map((route) => ({ upstream: 'a', ...route })),
  });
  assert.deepEqual(problems, []);
  return new Router(config!.routes);
}

const request = (
  path: string,
  more: { method?: string; host?: string; headers?: Record<string, string> } = {},
) => ({
  method: more.method ?? 'GET',
  host: more.host ?? 'example.test',
  path,
  header: (name: string) => more.headers?.[name] ?? null,
});

const indexOf = (found: Route | RouteMiss): number | string =>
  typeof found === 'object' ? found.index : `miss ${found}`;

test('exact, prefix and parameter paths', () => {
  const table = router(
    { path: '/health' },
    { path: '/v1/*' },
    { path: '/m/:name/infer' },
    { path: '/p/:x/*' },
  );
  const cases: [string, number | string][] = [
    ['/health', 0],
    ['/health/', 'miss 0'],
    ['/healthx', 'miss 0'],
    ['/v1', 1],
    ['/v1/', 1],
    ['/v1/chat/x', 1],
    ['/v1x', 'miss 0'],
    ['/m/bert/infer', 2],
    ['/m//infer', 'miss 0'],
    ['/m/bert', 'miss 0'],
    ['/m/bert/infer/x', 'miss 0'],
    ['/p/1/a/b', 3],
    ['/p/1', 3],
    ['/p', 'miss 0'],
  ];
  for (const [path, expected] of cases) {
    assert.equal(indexOf(table.match(request(path))), expected, path);
  }
  const route = table.match(request('/m/bert/infer')) as Route;
  assert.equal(pathParam(route, '/m/bert/infer', 'name'), 'bert');
  assert.equal(pathParam(route, '/m/bert/infer', 'other'), null);
});

test('host is exact: a name that only contains it matches nothing', () => {
  const table = router({ host: 'Example.Test' });
  assert.equal(indexOf(table.match(request('/'))), 0);
  for (const host of ['evilexample.test', 'example.test.evil', 'xexample.testx', '']) {
    assert.equal(indexOf(table.match(request('/', { host }))), 'miss 0', host);
  }
});

test('method and header conditions, 405 with what is allowed', () => {
  const table = router(
    { path: '/a', methods: ['POST', 'PUT'] },
    { path: '/b', headers: { 'X-Tier': 'gold' } },
  );
  assert.equal(table.match(request('/a')), RouteMiss.MethodNotAllowed);
  assert.deepEqual(table.allowedMethods(request('/a')), ['POST', 'PUT']);
  assert.equal(indexOf(table.match(request('/a', { method: 'PUT' }))), 0);
  assert.equal(table.match(request('/a', { method: 'put' })), RouteMiss.MethodNotAllowed);
  assert.equal(table.match(request('/b')), RouteMiss.NotFound);
  assert.equal(indexOf(table.match(request('/b', { headers: { 'x-tier': 'gold' } }))), 1);
});

test('routes by model ask for the model only when it decides', () => {
  const table = router(
    { path: '/v1/models' },
    { path: '/v1/*', models: ['llama-*', 'gpt'] },
    { path: '/v1/*', models: ['*-embed'] },
  );
  assert.equal(indexOf(table.match(request('/v1/models'))), 0);
  assert.equal(table.match(request('/v1/chat')), RouteMiss.NeedsModel);
  assert.equal(indexOf(table.match(request('/v1/chat'), 'llama-3')), 1);
  assert.equal(indexOf(table.match(request('/v1/chat'), 'gpt')), 1);
  assert.equal(indexOf(table.match(request('/v1/chat'), 'x-embed')), 2);
  assert.equal(table.match(request('/v1/chat'), 'gpt-4'), RouteMiss.NotFound);
  assert.equal(table.match(request('/v1/chat'), null), RouteMiss.NotFound);
});

test('a prefix is rewritten in the received target, query kept byte for byte', () => {
  const rewrite = (path: string, prefix: string, target: string): string | null => {
    const route = router({ path, rewrite: { prefix } }).routes[0]!;
    return rewriteTarget(route, target);
  };
  assert.equal(rewrite('/api/*', '/v1', '/api/chat?a=%20b&&'), '/v1/chat?a=%20b&&');
  assert.equal(rewrite('/api/*', '/', '/api/chat'), '/chat');
  assert.equal(rewrite('/api/*', '', '/api'), '/');
  assert.equal(rewrite('/api/*', '', '/api?x=1'), '/?x=1');
  assert.equal(rewrite('/api/*', '/v1', '/%61pi/chat'), null);
});

const scan = (text: string, size = text.length): [ScanState, string | null, boolean | null] => {
  const scanner = new JsonScanner();
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length && scanner.state === ScanState.More; at += size) {
    scanner.feed(bytes.subarray(at, at + size));
  }
  return [scanner.state, scanner.model, scanner.stream];
};

test('model and stream are found wherever they stand, however the bytes are split', () => {
  const long = 'x\\"{}[]:,\\\\'.repeat(50);
  const cases: [string, [ScanState, string | null, boolean | null]][] = [
    ['{"model":"m","stream":true}', [ScanState.Done, 'm', true]],
    [
      `{"messages":[{"model":"no","c":"${long}"}],"stream": false , "model" : "a\\u0062\\n" }`,
      [ScanState.Done, 'ab\n', false],
    ],
    ['{}', [ScanState.Done, null, null]],
    ['{"a":{"model":"x"},"b":[1,2,{"stream":true}],"n":-1.5e3}', [ScanState.Done, null, null]],
    ['{"\\u006dodel":"x"}', [ScanState.Done, 'x', null]],
    ['{"model":"é"}', [ScanState.Done, 'é', null]],
    ['{"model":null}', [ScanState.Done, null, null]],
  ];
  for (const [text, expected] of cases) {
    for (let size = 1; size <= Math.min(text.length, 40); size++) {
      assert.deepEqual(scan(text, size), expected, `${text.slice(0, 60)} in pieces of ${size}`);
    }
    assert.deepEqual(scan(text), expected);
  }
});

test('what could be read two ways is invalid', () => {
  const deep = '['.repeat(300);
  for (const text of [
    '[1]',
    '"model"',
    '{"model":"a","model":"b"}',
    '{"model":"a","\\u006dodel":"b"}',
    '{"model":1}',
    '{"model":null,"model":"b"}',
    '{"model":{"a":1}}',
    '{"a" "b"}',
    '{"a":"b" "c":1}',
    `{"a":${deep}`,
    `{"model":"${'x'.repeat(600)}"}`,
  ]) {
    assert.equal(scan(text)[0], ScanState.Invalid, text.slice(0, 40));
  }
  assert.equal(scan('{"model":"a"')[0], ScanState.More);
});
