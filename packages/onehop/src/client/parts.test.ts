/** The small parts of the client that need no connection. */
import assert from 'node:assert/strict';
import type { LookupAddress } from 'node:dns';
import { test } from 'node:test';
import type { OnehopError } from '../core/index.ts';
import { isIP } from './ip.ts';
import { keepAliveTimeoutMs } from './keep-alive.ts';
import { isExempt, parseProxy, proxyFromEnvironment } from './proxy.ts';
import { interleave, SystemResolver } from './resolver.ts';
import { isPlainTarget, parseRequestUrl } from './url.ts';

const v4 = (address: string): LookupAddress => ({ address, family: 4 });
const v6 = (address: string): LookupAddress => ({ address, family: 6 });

test('addresses alternate between families, the first one leading', () => {
  assert.deepEqual(interleave([v6('::1'), v6('::2'), v4('1.1.1.1')]), ['::1', '1.1.1.1', '::2']);
  assert.deepEqual(interleave([v4('1.1.1.1'), v4('1.1.1.1'), v6('::1')]), ['1.1.1.1', '::1']);
  assert.deepEqual(interleave([]), []);
});

test('IP addresses are told from names', () => {
  for (const host of ['127.0.0.1', '10.20.30.40', '::1', 'fe80::1']) assert.equal(isIP(host), true);
  for (const host of ['localhost', '1.2.3', '1.2.3.', 'a.b.c.d', '1.2.3.4.example', '']) {
    assert.equal(isIP(host), false, host);
  }
});

test('the resolver asks once for a name, remembers answers and failures for their time', () => {
  let now = 0;
  let lookups = 0;
  let answer: ((error: Error | null, addresses: LookupAddress[]) => void) | null = null;
  const resolver = new SystemResolver({
    nowMs: () => now,
    ttlMs: 100,
    failureTtlMs: 10,
    lookup: (_host, done) => {
      lookups++;
      answer = done;
    },
  });
  const heard: string[] = [];
  const ask = (): void =>
    resolver.resolve('a.test', (error, addresses) =>
      heard.push(error?.code ?? addresses.join(' ')),
    );
  ask();
  ask();
  assert.equal(lookups, 1);
  answer!(null, [v4('1.1.1.1')]);
  assert.deepEqual(heard, ['1.1.1.1', '1.1.1.1']);
  now = 99;
  ask();
  assert.equal(lookups, 1);
  now = 100;
  ask();
  assert.equal(lookups, 2);
  answer!(new Error('ENOTFOUND'), []);
  ask();
  assert.equal(lookups, 2);
  now = 110;
  ask();
  assert.equal(lookups, 3);
  assert.deepEqual(heard.slice(2), ['1.1.1.1', 'RESOLVE_FAILED', 'RESOLVE_FAILED']);
  resolver.resolve('127.0.0.1', (_error, addresses) => heard.push(addresses[0]!));
  assert.equal(heard.at(-1), '127.0.0.1');
  assert.equal(lookups, 3);
});

test('idle time learned from Keep-Alive stays below the server`s', () => {
  assert.equal(keepAliveTimeoutMs('timeout=5, max=100'), 4000);
  assert.equal(keepAliveTimeoutMs('max=3,Timeout="60"'), 59_000);
  assert.equal(keepAliveTimeoutMs('timeout=1'), 500);
  assert.equal(keepAliveTimeoutMs('timeout=0'), 0);
  for (const value of ['', 'timeout', 'timeout=x', 'timeout=-1', 'max=5']) {
    assert.equal(keepAliveTimeoutMs(value), Number.POSITIVE_INFINITY, value);
  }
});

test('NO_PROXY: names with their sub-domains, ports, addresses, everything', () => {
  const at = (host: string, port = 80) => ({ scheme: 'http' as const, host, port });
  const list = 'example.test, .inner.test,*.star.test,10.0.0.1, host.test:8080, [::1]:80';
  for (const host of [
    'example.test',
    'a.EXAMPLE.test',
    'inner.test',
    'x.star.test',
    '10.0.0.1',
    '::1',
  ]) {
    assert.equal(isExempt(at(host), list), true, host);
  }
  for (const host of ['notexample.test', 'example.test.evil', 'host.test', '10.0.0.10']) {
    assert.equal(isExempt(at(host), list), false, host);
  }
  assert.equal(isExempt(at('host.test', 8080), list), true);
  assert.equal(isExempt(at('any'), '*'), true);
});

test('the proxy comes from the variable of the scheme, never from a CGI header', () => {
  const http = { scheme: 'http' as const, host: 'a.test', port: 80 };
  const https = { ...http, scheme: 'https' as const, port: 443 };
  assert.deepEqual(proxyFromEnvironment(http, { http_proxy: 'http://u:p%40@p.test:3128' }), {
    host: 'p.test',
    port: 3128,
    authorization: `Basic ${Buffer.from('u:p@').toString('base64')}`,
  });
  assert.equal(proxyFromEnvironment(https, { http_proxy: 'http://p.test' }), null);
  assert.equal(proxyFromEnvironment(https, { ALL_PROXY: 'p.test:1' })!.port, 1);
  assert.equal(proxyFromEnvironment(http, { HTTP_PROXY: 'p', REQUEST_METHOD: 'GET' }), null);
  assert.equal(proxyFromEnvironment(http, { http_proxy: 'p', no_proxy: 'a.test' }), null);
  assert.throws(
    () => parseProxy('http://user:secret@'),
    (error: OnehopError) => error.code === 'ARGUMENT_INVALID' && !error.message.includes('secret'),
  );
});

test('URLs: what may skip the parser gives what the parser would', () => {
  const same = ['/', '/a/b?x=1&y=%20', '/v1/chat', '/a.b/c~d', '/?', '/a;b=c@d:e'];
  for (const target of same) {
    assert.equal(isPlainTarget(target, 0), true, target);
    assert.equal(
      parseRequestUrl(`http://h.test${target}`, undefined).target.replace(/\?$/, ''),
      target.replace(/\?$/, ''),
    );
  }
  const needsParsing = [
    '/a/../b',
    '/./a',
    '/%2e%2e/b',
    '/a b',
    '/a#b',
    '/\u00e9',
    '/a\\b',
    '/"',
    '/{}',
  ];
  for (const target of needsParsing) assert.equal(isPlainTarget(target, 0), false, target);
});

test('URLs that cannot be requested are refused without showing what is secret in them', () => {
  for (const url of [
    'ftp://a.test/',
    'nonsense',
    'http://user:hunter2@a.test/',
    'file:///etc/passwd',
  ]) {
    assert.throws(
      () => parseRequestUrl(url, undefined),
      (error: OnehopError) =>
        error.code === 'ARGUMENT_INVALID' && !error.message.includes('hunter2'),
      url,
    );
  }
  const parsed = parseRequestUrl('https://[::1]/x?y#z', undefined);
  assert.deepEqual(parsed, {
    address: { scheme: 'https', host: '::1', port: 443 },
    origin: 'https://[::1]',
    target: '/x?y',
  });
});
