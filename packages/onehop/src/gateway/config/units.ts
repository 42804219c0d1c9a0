/** Durations, sizes and shares as people write them in a configuration file. Pure. */

export const DURATION_PATTERN = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/;
export const BYTES_PATTERN = /^(\d+(?:\.\d+)?)(B|kB|KB|KiB|MB|MiB|GB|GiB)$/;
export const SHARE_PATTERN = /^(\d+(?:\.\d+)?)%$/;

const MS_PER_UNIT: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
const BYTES_PER_UNIT: Record<string, number> = {
  B: 1,
  kB: 1000,
  KB: 1000,
  KiB: 1024,
  MB: 1_000_000,
  MiB: 1024 * 1024,
  GB: 1_000_000_000,
  GiB: 1024 * 1024 * 1024,
};

function parseWithUnit(
  text: string,
  pattern: RegExp,
  units: Record<string, number>,
): number | null {
  const match = pattern.exec(text.trim());
  if (match === null) return null;
  const value = Math.round(Number(match[1]) * units[match[2]!]!);
  return Number.isSafeInteger(value) ? value : null;
}

/** `"1.5s"` → 1500; a bare number is milliseconds. Null when it is neither. */
export function parseDurationMs(value: string | number): number | null {
  if (typeof value === 'number') return Number.isSafeInteger(value) && value >= 0 ? value : null;
  return parseWithUnit(value, DURATION_PATTERN, MS_PER_UNIT);
}

/** `"64MiB"` → 67108864; a bare number is bytes. Null when it is neither. */
export function parseBytes(value: string | number): number | null {
  if (typeof value === 'number') return Number.isSafeInteger(value) && value >= 0 ? value : null;
  return parseWithUnit(value, BYTES_PATTERN, BYTES_PER_UNIT);
}

/** 67108864 → `"64MiB"`: the largest unit that needs no fraction. */
export function formatBytes(bytes: number): string {
  for (const unit of ['GiB', 'MiB', 'KiB'] as const) {
    const size = BYTES_PER_UNIT[unit]!;
    if (bytes >= size && bytes % size === 0) return `${bytes / size}${unit}`;
  }
  return `${bytes} bytes`;
}

/** 1500 → `"1500ms"`, 120000 → `"2m"`: the largest unit that needs no fraction. */
export function formatDuration(ms: number): string {
  for (const unit of ['h', 'm', 's'] as const) {
    const length = MS_PER_UNIT[unit]!;
    if (ms >= length && ms % length === 0) return `${ms / length}${unit}`;
  }
  return `${ms}ms`;
}

/** `"20%"` → 0.2; a bare number is the share itself, 0 to 1. Null when it is neither. */
export function parseShare(value: string | number): number | null {
  if (typeof value === 'number') return value >= 0 && value <= 1 ? value : null;
  const match = SHARE_PATTERN.exec(value.trim());
  if (match === null) return null;
  const share = Number(match[1]) / 100;
  return share <= 1 ? share : null;
}
