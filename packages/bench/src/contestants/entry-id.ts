/** How a client on one runtime, in one mode, is called in results and reports. */
import type { ReuseMode, Runtime } from './types.ts';

/** `undici-request`, `onehop@bun`, `httpx.per-request`. Node and Python are not spelt out. */
export function entryId(name: string, runtime: Runtime, reuse: ReuseMode): string {
  const place = runtime === 'bun' ? '@bun' : '';
  return `${name}${place}${reuse === 'per-request' ? '.per-request' : ''}`;
}
