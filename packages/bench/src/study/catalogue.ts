/** Everything that could take part on this machine. */
import {
  contestantSource,
  contestantVersion,
  loadChatContestants,
  loadContestants,
} from '../contestants/index.ts';
import type { StudyCase } from '../contestants/types.ts';
import type { Catalogue, CatalogueItem } from './entries.ts';

/** The contestants of a case on Node and Bun. @param bunVersion null when there is no Bun */
export async function loadCatalogue(
  bunVersion: string | null,
  studyCase: StudyCase,
): Promise<Catalogue> {
  const items: CatalogueItem[] = [];
  const knownNames: string[] = [];
  const versions = { node: process.versions.node, bun: bunVersion ?? undefined };
  const contestants = await (studyCase === 'chat' ? loadChatContestants() : loadContestants());
  for (const contestant of contestants) {
    knownNames.push(contestant.name);
    for (const runtime of contestant.runtimes) {
      if (runtime === 'bun' && bunVersion === null) continue;
      const source = contestantSource(contestant.name);
      items.push({
        name: contestant.name,
        runtime,
        package: contestant.package,
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
