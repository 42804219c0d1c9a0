/** Seeded random numbers, so that a report drawn twice from one file shows the same intervals. */

/** A number in [0, 1). */
export type Random = () => number;

/** Mulberry32: 32 bits of state, period 2^32, ample for resampling. */
export function seededRandom(seed: number): Random {
  // Nearby seeds such as 1, 2, 3 are spread by one round of mixing first.
  let state = Math.imul((seed ^ 0x9e3779b9) >>> 0, 0x85ebca6b) >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** A standard normal deviate (Box and Muller). */
export function normal(random: Random): number {
  const radius = Math.sqrt(-2 * Math.log(1 - random()));
  return radius * Math.cos(2 * Math.PI * random());
}
