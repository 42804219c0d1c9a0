/** What stands out, with its cause as far as the figures show one. */
import { blockingByEntry, type EntrySummary, median, type StudyAnalysis } from '../stats/index.ts';
import { count, list, number, percent, ratio } from './format.ts';

export interface Finding {
  title: string;
  text: string;
}

type Named = readonly [string, EntrySummary];

export function findingsOf(analysis: StudyAnalysis): Finding[] {
  const { headline, figures } = analysis;
  if (headline === null) return [];
  const all: Named[] = figures.contestants().flatMap(({ id }) => {
    const summary = headline.summaries.get(id);
    return summary === undefined ? [] : [[id, summary] as const];
  });
  return [
    ...sockets(analysis, all),
    ...pauses(analysis),
    ...kernelShare(all),
    ...rarePieces(analysis),
    ...failures(analysis),
    ...audits(analysis),
  ];
}

function sockets(analysis: StudyAnalysis, all: readonly Named[]): Finding[] {
  const fresh = all.filter(([, { connectionsPer1k }]) => connectionsPer1k >= 900);
  const some = all.filter(
    ([, { connectionsPer1k }]) => connectionsPer1k >= 100 && connectionsPer1k < 900,
  );
  const findings: Finding[] = [];
  const shared = fresh.filter(([id]) => analysis.figures.entry(id).reuse === 'shared');
  if (fresh.length > 0) {
    const surprise =
      shared.length > 0
        ? ` ${list(shared.map(([id]) => id))} should have kept its connections and did not.`
        : '';
    findings.push({
      title: 'A new upstream connection for every request',
      text: `${list(
        fresh.map(([id]) => id),
        8,
      )}: about 1,000 sockets opened per 1,000 requests as the upstream saw it; connect, slow start and close are in each of their figures.${surprise}`,
    });
  }
  if (some.length > 0) {
    findings.push({
      title: 'Connections that do not last',
      text: `${list(
        some.map(([id, one]) => `${id} (${number(one.connectionsPer1k)})`),
        8,
      )} new sockets per 1,000 requests: the pool closes or outgrows connections under this load.`,
    });
  }
  return findings;
}

function pauses(analysis: StudyAnalysis): Finding[] {
  const stuck = blockingByEntry(analysis).filter(({ state }) => state === 'blocked');
  if (stuck.length === 0) return [];
  const shown = stuck.map(
    (one) =>
      `${one.entry} (p99 ${number(one.loopDelayP99Ms)} ms, longest ${number(one.loopDelayMaxMs)} ms)`,
  );
  return [
    {
      title: 'The event loop is held up',
      text: `${list(shown, 6)}. While the loop stands still no request of the process moves, so these pauses reach every caller’s tail.`,
    },
  ];
}

function kernelShare(all: readonly Named[]): Finding[] {
  const shares = all
    .filter(([, one]) => one.cpuUserUs !== null && one.cpuSystemUs !== null)
    .map(([id, one]) => ({ id, share: one.cpuSystemUs! / (one.cpuUserUs! + one.cpuSystemUs!) }))
    .sort((a, b) => b.share - a.share);
  const [most, least] = [shares[0], shares.at(-1)];
  if (most === undefined || least === undefined || most.share - least.share < 0.15) return [];
  return [
    {
      title: 'Where the time goes',
      text: `${most.id} spends ${percent(most.share)} of its CPU in the kernel (sockets), ${least.id} only ${percent(least.share)}: the rest is the client’s own code.`,
    },
  ];
}

/** From here on what few pieces cost is worth a word. */
const RARE_MIN = 1.1;

/** The median of pieces does not hold what happens in few of them; the totals do. */
function rarePieces({ headline, figures }: StudyAnalysis): Finding[] {
  const found = figures.contestants().flatMap(({ id }) => {
    const over = figures.runs(headline!.cell.id, id).flatMap((run) => {
      const steady = figures.cpuUs(run);
      return run.slicePasses === undefined || run.api === null || steady === null
        ? []
        : [run.api.cpuPerRequestUs / steady];
    });
    const share = over.length === 0 ? 1 : median(over);
    return share < RARE_MIN ? [] : [`${id} (${ratio(share)})`];
  });
  if (found.length === 0) return [];
  return [
    {
      title: 'Few pieces that cost more than the others',
      text: `Over all pieces of a round these take more than their figure, which is that of the median piece: ${list(found, 6)}. Garbage collections and disturbances are of that kind.`,
    },
  ];
}

function failures(analysis: StudyAnalysis): Finding[] {
  const failed = analysis.figures.contestants().flatMap(({ id }) => {
    const own = analysis.results.measurements.filter(({ entry }) => entry === id);
    const kinds = new Map<string, number>();
    for (const { errorCounts, statusCounts } of own) {
      for (const [kind, times] of Object.entries(errorCounts))
        kinds.set(kind, (kinds.get(kind) ?? 0) + times);
      for (const [status, times] of Object.entries(statusCounts)) {
        if (!status.startsWith('2'))
          kinds.set(`status ${status}`, (kinds.get(`status ${status}`) ?? 0) + times);
      }
    }
    const dropped = own.reduce((total, run) => total + run.dropped, 0);
    if (dropped > 0) kinds.set('not sent in time', dropped);
    if (kinds.size === 0) return [];
    const total = own.reduce((sum, { completed }) => sum + completed, 0);
    const shown = [...kinds].map(([kind, times]) => `${kind}: ${number(times)}`);
    return [`${id} (${list(shown)}; of ${count(total, 'request')})`];
  });
  if (failed.length === 0) return [];
  return [{ title: 'Requests that failed', text: `${list(failed, 6)}.` }];
}

function audits(analysis: StudyAnalysis): Finding[] {
  const failed = analysis.results.audit.filter(({ verdict }) => verdict === 'fail');
  if (failed.length === 0) return [];
  const shown = failed.map(({ entry, check, detail }) => `${entry} fails ${check} (${detail})`);
  return [
    {
      title: 'Failed fairness checks',
      text: `${list(shown, 8)}. What fails is shown, not ranked.`,
    },
  ];
}

/** What a reader must not conclude from any study of this kind. */
export function caveatsOf(analysis: StudyAnalysis): string[] {
  const { results, options, gates } = analysis;
  const caveats = [
    'Ratios travel to other machines better than absolute figures do; on shared cores requests/s also flatter whoever leaves more CPU to the generator and the upstream. That is why CPU per request decides.',
    'In a closed loop latency is connections divided by requests/s: the latency columns of closed cells hold little that requests/s do not. Only the open-loop cells show latency at a given load.',
    `Intervals are bootstraps over rounds, not over requests (${number(options.resamples)} resamples in the headline cell, 2,000 elsewhere, percentiles expanded for few rounds), and a verdict must hold for Student’s t as well; all pairs share one Holm correction at ${percent(options.confidence)}.`,
    'CPU per request in the main cell is the median of the pieces of a round, each relative to its pass, and what few pieces cost is not in it; user and system time, requests/s and latencies are of all pieces together.',
    'Event-loop delay has the probe’s own resolution taken off and is missing where the runtime has no probe.',
    'p99 is given only from 1,000 samples in a run and p99.9 from 10,000; percentiles are never averaged, only their median over rounds is shown.',
  ];
  for (const { verdict, title, figure } of gates) {
    if (verdict === 'absent') caveats.push(`Not judged: ${title} (${figure}).`);
  }
  return [...caveats, ...results.warnings];
}
