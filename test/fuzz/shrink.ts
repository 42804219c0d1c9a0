/** Removes as much of `text` as can go while `fails` stays true: halves first, then single bytes. */
export function shrink(text: string, fails: (text: string) => boolean): string {
  let best = text;
  for (let size = Math.ceil(best.length / 2); size >= 1; size = Math.floor(size / 2)) {
    for (let at = 0; at < best.length; ) {
      const shorter = best.slice(0, at) + best.slice(at + size);
      if (shorter.length < best.length && fails(shorter)) best = shorter;
      else at += size;
    }
  }
  return best;
}
