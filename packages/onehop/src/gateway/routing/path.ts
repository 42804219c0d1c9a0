/**
 * The one path that routing looks at. The bytes the caller sent go upstream unchanged (RFC 9110
 * §7.7), so the two must not be able to mean different things: spellings that are equivalent by
 * RFC 3986 §6.2.2 are normalised for routing, ambiguous ones are refused.
 */

export const PathProblem = {
  None: 0,
  /** A `.` or `..` segment, plain, encoded or with a path parameter (`..;x`, `..%3Bx`). */
  DotSegment: 1,
  /** `%2F` or `%5C`: one server sees a separator, the next does not. */
  EncodedSeparator: 2,
  /** `%` without two hexadecimal digits, or `%00`. */
  BadEscape: 3,
  Backslash: 4,
} as const;
export type PathProblem = (typeof PathProblem)[keyof typeof PathProblem];

const hexValue = (code: number): number => {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const lower = code | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
};

/** RFC 3986 §2.3: their encoded form is equivalent. */
const isUnreserved = (code: number): boolean =>
  (code >= 0x61 && code <= 0x7a) ||
  (code >= 0x41 && code <= 0x5a) ||
  (code >= 0x30 && code <= 0x39) ||
  code === 0x2d ||
  code === 0x2e ||
  code === 0x5f ||
  code === 0x7e;

/** Result slot of {@link normalisePath}, so that a request allocates nothing for it. */
export interface NormalisedPath {
  path: string;
  problem: PathProblem;
}

/**
 * Writes the routing form of `path` (no query) into `out`: encoded unreserved characters decoded,
 * runs of `/` merged. Most paths need no change and are returned as they are.
 */
export function normalisePath(path: string, out: NormalisedPath): void {
  out.path = path;
  out.problem = PathProblem.None;
  let plain = true;
  let previous = 0;
  for (let at = 0; at < path.length; at++) {
    const code = path.charCodeAt(at);
    if (code === 0x25 || code === 0x5c || (previous === 0x2f && (code === 0x2e || code === 0x2f))) {
      plain = false;
      break;
    }
    previous = code;
  }
  if (plain) return;
  let text = '';
  for (let at = 0; at < path.length; at++) {
    const code = path.charCodeAt(at);
    if (code === 0x5c) {
      out.problem = PathProblem.Backslash;
      return;
    }
    if (code === 0x25) {
      const high = hexValue(path.charCodeAt(at + 1));
      const low = hexValue(path.charCodeAt(at + 2));
      const value = high * 16 + low;
      // charCodeAt past the end is NaN, which hexValue turns into -1.
      if (high < 0 || low < 0 || value === 0) {
        out.problem = PathProblem.BadEscape;
        return;
      }
      if (value === 0x2f || value === 0x5c) {
        out.problem = PathProblem.EncodedSeparator;
        return;
      }
      text += isUnreserved(value)
        ? String.fromCharCode(value)
        : path.slice(at, at + 3).toUpperCase();
      at += 2;
    } else if (code !== 0x2f || !text.endsWith('/')) {
      text += path[at];
    }
  }
  if (hasDotSegment(text)) out.problem = PathProblem.DotSegment;
  else out.path = text;
}

function hasDotSegment(path: string): boolean {
  for (let slash = path.indexOf('/'); slash !== -1; slash = path.indexOf('/', slash + 1)) {
    let at = slash + 1;
    while (path.charCodeAt(at) === 0x2e && at - slash <= 3) at++;
    const dots = at - slash - 1;
    if (dots !== 1 && dots !== 2) continue;
    const next = path.charCodeAt(at);
    if (at === path.length || next === 0x2f || next === 0x3b) return true;
    if (path.startsWith('%3B', at)) return true;
  }
  return false;
}
