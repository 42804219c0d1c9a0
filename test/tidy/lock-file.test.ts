import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

interface LockedPackage {
  optionalDependencies?: Record<string, string>;
}

// `npm ci` refuses a lock file without an entry for every platform's package, also of platforms
// that are not this one; `npm install` leaves such an entry out when the registry lacks it.
test('the lock file names every optional dependency, or npm ci fails on a fresh clone', () => {
  const root = new URL('../../../', import.meta.url);
  const { packages } = JSON.parse(readFileSync(new URL('package-lock.json', root), 'utf8')) as {
    packages: Record<string, LockedPackage>;
  };
  const missing: string[] = [];
  for (const [path, { optionalDependencies = {} }] of Object.entries(packages)) {
    for (const name of Object.keys(optionalDependencies)) {
      const nested = `${path}/node_modules/${name}`;
      if (`node_modules/${name}` in packages || nested in packages) continue;
      missing.push(`${name}, wanted by ${path}`);
    }
  }
  assert.deepEqual(missing, []);
});
