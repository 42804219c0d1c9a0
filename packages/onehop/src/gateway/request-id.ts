/** Request ids: the caller's if it is harmless, else a cheap one of ours. */
import { randomBytes } from 'node:crypto';

// Unique per process, then counted: no system call and no randomness per request.
const prefix = randomBytes(6).toString('hex');
let next = 0;
/** The last two digits, base 36, made once: the rest of a number changes every 1,296 requests. */
const low = Array.from({ length: 36 * 36 }, (_, n) => n.toString(36).padStart(2, '0'));
let turns = 0;
let high = `${prefix}-`;

const lengthMax = 128;

/** Letters, digits and `-_.:/=+`: safe in logs, headers and shells. */
function isHarmless(id: string): boolean {
  if (id.length === 0 || id.length > lengthMax) return false;
  for (let at = 0; at < id.length; at++) {
    const code = id.charCodeAt(at);
    const fine =
      (code >= 0x61 && code <= 0x7a) ||
      (code >= 0x41 && code <= 0x5a) ||
      (code >= 0x2b && code <= 0x3a && code !== 0x2c) ||
      code === 0x5f ||
      code === 0x3d;
    if (!fine) return false;
  }
  return true;
}

export function requestIdFor(given: string | null): string {
  if (given !== null && isHarmless(given)) return given;
  if (++next === low.length) {
    next = 0;
    high = `${prefix}-${(++turns).toString(36)}`;
  }
  return high + low[next]!;
}
