/** Numbers and names as people read them; one place, so that page, terminal and Markdown agree. */
import type { Interval } from '../stats/index.ts';

const grouped = (value: number, digits: number): string =>
  value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits });

/** Three significant digits, thousands grouped, no exponents: `0.12`, `62.1`, `421`, `99,000`. */
export function number(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return '–';
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 10_000) return grouped(value, 0);
  if (size >= 10_000) {
    const unit = 10 ** (Math.floor(Math.log10(size)) - 2);
    return grouped(Math.round(value / unit) * unit, 0);
  }
  if (size >= 100) return grouped(value, 0);
  if (size >= 10) return grouped(value, 1);
  if (size >= 0.1) return grouped(value, 2);
  return grouped(value, 3);
}

/** Short for axes: `1k`, `2.5k`, `0.5`. */
export function tick(value: number): string {
  const size = Math.abs(value);
  if (size >= 1e6) return `${trim(value / 1e6)}M`;
  if (size >= 1000) return `${trim(value / 1000)}k`;
  return trim(value);
}

const trim = (value: number): string => String(Number(value.toPrecision(3)));

export function ratio(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return '–';
  return `${ratioDigits(value)}×`;
}

function ratioDigits(value: number): string {
  if (value >= 100) return grouped(value, 0);
  if (value >= 0.1) return grouped(value, value >= 10 ? 1 : 2);
  return String(Number(value.toPrecision(2)));
}

/** `1.42× (1.40–1.44)`. */
export function ratioWithInterval(value: number, interval: Interval | null): string {
  return interval === null ? ratio(value) : `${ratio(value)} (${ratioSpan(interval)})`;
}

export const ratioSpan = ({ low, high }: Interval): string =>
  `${ratioDigits(low)}–${ratioDigits(high)}`;

export const span = ({ low, high }: Interval): string => `${number(low)}–${number(high)}`;

export const percent = (share: number, digits = 0): string => `${grouped(share * 100, digits)} %`;

export const mebibytes = (bytes: number | null): string =>
  bytes === null ? '–' : number(bytes / 1_048_576);

/** `a`, `a and b`, `a, b and c`; beyond `max` the rest is counted. */
export function list(names: readonly string[], max = 5): string {
  if (names.length <= 1) return names[0] ?? '';
  if (names.length > max + 1) {
    return `${names.slice(0, max).join(', ')} and ${names.length - max} more`;
  }
  return `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`;
}

export function count(value: number, noun: string, plural = `${noun}s`): string {
  return `${grouped(value, 0)} ${value === 1 ? noun : plural}`;
}

/** Escapes for HTML and SVG, text and double-quoted attributes alike. */
export function escapeXml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');
}
