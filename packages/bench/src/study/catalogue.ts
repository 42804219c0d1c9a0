/** Everything that could take part on this machine. */
import { contestantSource, contestantVersion, loadContestants } from '../contestants/index.ts';
import type { Catalogue, CatalogueItem } from './entries.ts';

/** The contestants of Node and Bun. @param bunVersion null when there is no Bun */
export async function loadCatalogue(bunVersion: string | null): Promise<Catalogue> {
  const items: CatalogueItem[] = [];
  const knownNames: string[] = [];
  const versions = { node: process.versions.node, bun: bunVersion ?? undefined };
  for (const contestant of await loadContestants()) {
    knownNames.push(contestant.name);
    for (const runtime of contestant.runtimes) {
      if (runtime === 'bun' && bunVersion === null) continue;
      const source = contestantSource(contestant.name);
      items.push({
        name: contestant.name,
        runtime,
        modes: contestant.modes,
        protocol: contestant.protocol,
        note: contestant.note,
        version: contestantVersion(contestant, runtime, versions) ?? 'unknown',
        ...(source === null ? {} : { source }),
      });
    }
  }
  return { items, knownNames };
}
