/** Service times a stand-in can pretend to have. All values are milliseconds. */
import type { RandomSource } from './uuid.ts';

export type LatencySpec =
  | { readonly kind: 'fixed'; readonly ms: number }
  | { readonly kind: 'uniform'; readonly minMs: number; readonly maxMs: number }
  | { readonly kind: 'exponential'; readonly meanMs: number }
  | { readonly kind: 'lognormal'; readonly medianMs: number; readonly sigma: number };

export const noLatency: LatencySpec = { kind: 'fixed', ms: 0 };

const forms =
  '20, fixed:20, uniform:10-30, exponential:20 (mean) or lognormal:20,0.5 (median, sigma)';

/** A non-negative decimal number no larger than a day, or null. */
function amount(text: string | undefined): number | null {
  if (text === undefined || !/^\d+(\.\d+)?$/.test(text)) return null;
  const value = Number(text);
  return value <= 86_400_000 ? value : null;
}

/**
 * Reads `20`, `fixed:20`, `uniform:10-30`, `exponential:20` or `lognormal:20,0.5`.
 * Throws a RangeError whose message names the accepted forms.
 */
export function parseLatency(text: string): LatencySpec {
  const colon = text.indexOf(':');
  const kind = colon < 0 ? 'fixed' : text.slice(0, colon);
  const rest = text.slice(colon + 1);
  const parts = rest.split(kind === 'uniform' ? '-' : ',');
  const [first, second] = [amount(parts[0]), amount(parts[1])];
  if (first !== null) {
    if (parts.length === 1) {
      if (kind === 'fixed') return { kind, ms: first };
      if (kind === 'exponential') return { kind, meanMs: first };
    } else if (parts.length === 2 && second !== null) {
      if (kind === 'uniform' && second >= first) return { kind, minMs: first, maxMs: second };
      if (kind === 'lognormal' && second <= 5) return { kind, medianMs: first, sigma: second };
    }
  }
  throw new RangeError(`"${text}" is no latency; use ${forms}`);
}

/** Draws one service time. */
export function sampleLatency(spec: LatencySpec, random: RandomSource): number {
  switch (spec.kind) {
    case 'fixed':
      return spec.ms;
    case 'uniform':
      return spec.minMs + (spec.maxMs - spec.minMs) * random.nextUnit();
    case 'exponential':
      return -spec.meanMs * Math.log(1 - random.nextUnit());
    case 'lognormal': {
      // Box-Muller; 1 - u keeps the logarithm finite.
      const radius = Math.sqrt(-2 * Math.log(1 - random.nextUnit()));
      const normal = radius * Math.cos(2 * Math.PI * random.nextUnit());
      return spec.medianMs * Math.exp(spec.sigma * normal);
    }
  }
}
