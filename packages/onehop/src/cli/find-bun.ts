/** Finds a Bun to run the parts that are faster on it. Nothing requires Bun. */
import { existsSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, dirname, join } from 'node:path';

/**
 * Path of a Bun executable, or null: `ONEHOP_BUN` if set, the runtime itself if it is Bun, the
 * binary inside the npm package `bun`'s platform package, then `bun` on PATH.
 */
export function findBun(): string | null {
  const chosen = process.env['ONEHOP_BUN'];
  if (chosen !== undefined && chosen !== '') return existsSync(chosen) ? chosen : null;
  if (process.versions['bun'] !== undefined) return process.execPath;
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  const arch = process.arch === 'arm64' ? 'aarch64' : process.arch;
  const binary = process.platform === 'win32' ? 'bun.exe' : 'bun';
  const require = createRequire(import.meta.url);
  for (const suffix of ['', '-musl', '-baseline', '-musl-baseline']) {
    try {
      const manifest = require.resolve(`@oven/bun-${platform}-${arch}${suffix}/package.json`);
      const path = join(dirname(manifest), 'bin', binary);
      if (existsSync(path)) return path;
    } catch {
      // Not installed for this variant; try the next.
    }
  }
  try {
    // The npm package `bun` moves the binary here when its install script ran.
    const path = join(dirname(require.resolve('bun/package.json')), 'bin', 'bun.exe');
    if (existsSync(path) && statSync(path).size > 1_000_000) return path;
  } catch {
    // Not installed from npm.
  }
  for (const dir of (process.env['PATH'] ?? '').split(delimiter)) {
    if (dir !== '' && !dir.includes('node_modules') && existsSync(join(dir, binary))) {
      return join(dir, binary);
    }
  }
  return null;
}
