/** Below this much of the server's idle time ours is cut by half instead of by the margin. */
const marginMs = 1000;

/**
 * How long a connection may lie idle when the server answered with `Keep-Alive: timeout=N`: a second
 * less than N, because a request must not meet the server's close halfway; half of N when N is
 * short. Infinity when the value says nothing.
 */
export function keepAliveTimeoutMs(value: string): number {
  for (const part of value.toLowerCase().split(',')) {
    const [name, text] = part.split('=');
    if (name!.trim() !== 'timeout' || text === undefined) continue;
    const seconds = Number(text.trim().replace(/^"(.*)"$/, '$1'));
    if (!Number.isInteger(seconds) || seconds < 0) return Infinity;
    const ms = seconds * 1000;
    return ms > 2 * marginMs ? ms - marginMs : ms / 2;
  }
  return Infinity;
}
