/**
 * The words of the verdict. Every sentence is true of the figures behind it: what is not shown is
 * called tied or undecided, and the reason is told.
 */
import type { Runtime } from '../contestants/types.ts';
import {
  BLOCKING_MS,
  blockingByEntry,
  type Comparison,
  constructionCosts,
  differenceByConstruction,
  type League,
  latencySteps,
  protocolPairs,
  type Ranked,
  type Ranking,
  ROUNDS_FULL,
  ROUNDS_MIN,
  type StudyAnalysis,
} from '../stats/index.ts';
import { count, list, number, percent, ratio, ratioSpan, ratioWithInterval } from './format.ts';

export interface VerdictText {
  tone: 'decided' | 'tied' | 'undecided';
  sentence: string;
  /** What else the ranking shows. */
  details: string[];
  /** What the verdict does not cover. */
  limits: string[];
  /** The study's open questions with their answers. */
  questions: { question: string; answer: string }[];
}

const RUNTIMES: Record<Runtime, string> = { node: 'Node', bun: 'Bun', python: 'Python' };

function withConfidence({ ratio: value, interval }: Comparison, confidence: number): string {
  if (interval === null) return ratio(value);
  return `${ratio(value)} (${percent(confidence)} CI ${ratioSpan(interval)})`;
}

const undecided = (why: string, analysis: StudyAnalysis): VerdictText => ({
  tone: 'undecided',
  sentence: `Undecided: ${why}.`,
  details: [],
  limits: limitsOf(analysis),
  questions: questionsOf(analysis),
});

/** The verdict of a study, from its headline cell. */
export function verdictOf(analysis: StudyAnalysis): VerdictText {
  const { headline, ranking, rigInvalid, gates } = analysis;
  if (headline === null || ranking === null) {
    return undecided('no closed-loop cell was measured', analysis);
  }
  if (rigInvalid) {
    const breached = gates.filter(({ scope, verdict }) => scope === 'rig' && verdict === 'breach');
    const reasons = breached.map(
      ({ title, figure, limit }) => `“${title}” does not hold: ${figure}, ${limit} is asked`,
    );
    return undecided(`the rig is not fit for a verdict; ${reasons.join('; ')}`, analysis);
  }
  const { ranked } = ranking.cpu;
  if (ranked.length < 2) {
    const left = ranked.length === 1 ? `only ${ranked[0]!.entry} is` : 'no client is';
    return undecided(`${left} left to rank in ${headline.cell.id}`, analysis);
  }
  const against = analysis.leagues.flatMap((league) => league.ranking.cpu.ranked.slice(1));
  if (against.length === 0) {
    return undecided(
      `no runtime has two clients to rank in ${headline.cell.id}; between runtimes more than the client differs`,
      analysis,
    );
  }
  const most = Math.max(...against.map(({ versusBest }) => versusBest!.rounds));
  if (most < ROUNDS_MIN) {
    return undecided(
      `${count(most, 'common round')} ${most === 1 ? 'is' : 'are'} too few, ${ROUNDS_MIN} are the least and ${ROUNDS_FULL} give a full verdict`,
      analysis,
    );
  }
  if (against.some(({ versusBest }) => versusBest!.outcome !== 'undecided')) {
    return verdictFromRanks(analysis);
  }
  const [first] = analysis.leagues.filter((league) => league.ranking.cpu.ranked.length > 1);
  return undecided(noneShown(first!.ranking.cpu.ranked), analysis);
}

function noneShown(ranked: readonly Ranked[]): string {
  const next = ranked[1]!;
  return `no client is shown to differ from ${ranked[0]!.entry}, the cheapest measured; against ${next.entry} ${next.versusBest!.reason}`;
}

const outcomes = (ranked: readonly Ranked[], outcome: Comparison['outcome']) =>
  ranked.filter(({ versusBest }) => versusBest?.outcome === outcome);

/** Who leads one league, told so that no more is said than was shown. */
function verdictFromRanks(analysis: StudyAnalysis): VerdictText {
  const { leagues } = analysis;
  const judged = leagues.filter(({ ranking }) => ranking.cpu.ranked.length > 1);
  const ranks = judged.map(({ ranking }) => ranking.cpu.ranked);
  const decided = ranks
    .flat()
    .flatMap(({ versusBest }) =>
      versusBest !== null && versusBest.outcome !== 'undecided' ? [versusBest] : [],
    );
  const provisional = decided.some((pair) => pair.provisional);
  const rounds = Math.min(...decided.map((pair) => pair.rounds));
  const start = `${provisional ? `Provisionally (${count(rounds, 'round')}, crude intervals), on` : 'On'} this rig`;
  const several = judged.length > 1;
  const clauses = judged.map((league) => leagueClause(analysis, league, several));
  const tones = clauses.map(({ tone }) => tone);
  return {
    tone: tones.includes('undecided') ? 'undecided' : tones.includes('tied') ? 'tied' : 'decided',
    sentence: `${start}${several ? ': ' : ', '}${clauses.map(({ text }) => text).join(' ')}`,
    details: detailsOf(analysis, analysis.ranking!.cpu.ranked),
    limits: limitsOf(analysis),
    questions: questionsOf(analysis),
  };
}

function leagueClause(
  analysis: StudyAnalysis,
  { runtime, ranking }: League,
  several: boolean,
): Pick<VerdictText, 'tone'> & { text: string } {
  const { headline, options, figures } = analysis;
  const { ranked } = ranking.cpu;
  const best = ranked[0]!.entry;
  const tied = outcomes(ranked, 'tied').map(({ entry }) => entry);
  // `better`: dearer on average, but over rounds that the first did not share.
  const open = ranked
    .filter(({ versusBest }) => ['undecided', 'better'].includes(versusBest?.outcome ?? ''))
    .map(({ entry }) => entry);
  const next = outcomes(ranked, 'worse')[0];
  const where = several ? `on ${RUNTIMES[runtime]}, ` : '';
  const figure = `${number(headline!.summaries.get(best)!.cpuUs!.value)} µs in ${headline!.cell.id}`;
  const packageOf = (entry: string) => figures.entry(entry).package;
  // Whichever of them is first: it is the same package, and all others are shown to be dearer.
  const own =
    packageOf(best) != null &&
    next !== undefined &&
    [...tied, ...open].every((entry) => packageOf(entry) === packageOf(best));
  let text: string;
  if (tied.length === 0 && open.length === 0) {
    text = `${where}${best} forwards a request for the least CPU: ${figure}.`;
  } else if (open.length === 0) {
    text = `${where}${list([best, ...tied])} are tied for the least CPU per request: ${figure}.`;
  } else if (own) {
    text = `${where}${packageOf(best)} forwards a request for the least CPU: ${figure} through ${best}; in which order it and ${list([...tied, ...open])} come is undecided.`;
  } else {
    const also = tied.length > 0 ? `, tied with ${list(tied)}` : '';
    text = `${where}the first place is undecided: ${best} is measured cheapest (${figure})${also}, but ${list(open)} ${open.length === 1 ? 'is' : 'are'} not shown to be dearer.`;
  }
  if (next !== undefined) {
    text += ` The next, ${next.entry}, takes ${withConfidence(next.versusBest!, options.confidence)} the CPU${rateClause(analysis, ranking.rps, best, next.entry)}.`;
  } else text += ' No other client is shown to be dearer.';
  return {
    tone: open.length > 0 && !own ? 'undecided' : tied.length > 0 ? 'tied' : 'decided',
    text: several ? `${text[0]!.toUpperCase()}${text.slice(1)}` : text,
  };
}

/** Requests/s of the best against the next, the co-primary figure. */
function rateClause(analysis: StudyAnalysis, rates: Ranking, best: string, next: string): string {
  if (analysis.rigLimited) return '; requests/s are not judged, the rig is limited';
  const pair = rates.pairs.find(
    ({ a, b }) => (a === next && b === best) || (a === best && b === next),
  );
  if (pair === undefined) return '';
  const flip = pair.a === best;
  const value = flip ? 1 / pair.ratio : pair.ratio;
  const interval =
    pair.interval === null || !flip
      ? pair.interval
      : { low: 1 / pair.interval.high, high: 1 / pair.interval.low };
  const shown = ratioWithInterval(value, interval);
  if (pair.outcome === 'tied') return `; their requests/s are tied, ${shown}`;
  if (pair.outcome === 'undecided') return `; their requests/s are undecided, ${shown}`;
  const nextIsBetter = (pair.outcome === 'better') === (pair.a === next);
  return nextIsBetter
    ? `, yet answers ${shown} the requests/s`
    : ` and answers ${shown} the requests/s`;
}

function detailsOf(analysis: StudyAnalysis, ranked: readonly Ranked[]): string[] {
  const details: string[] = [];
  const { headline, ranking, options, cells } = analysis;
  if (analysis.leagues.length > 1) {
    const figure = (entry: string) =>
      `${entry} (${number(headline!.summaries.get(entry)!.cpuUs!.value)} µs)`;
    const firsts = analysis.leagues.map((league) => figure(league.ranking.cpu.ranked[0]!.entry));
    details.push(`The cheapest measured of each runtime: ${list(firsts)}.`);
  }
  const study = ranking!.cpu.pairs.find(
    ({ a, b }) => [a, b].includes('httpx') && [a, b].includes('aiohttp'),
  );
  if (study !== undefined) {
    details.push(
      `The study’s own pair, both with a shared client: ${study.a} takes ${withConfidence(study, options.confidence)} the CPU of ${study.b}, ${study.outcome === 'worse' ? 'shown to be dearer' : study.outcome}.`,
    );
  } else details.push(...originalPair(analysis));
  const first = ranked[0]!.entry;
  // A cell that the first was not measured in says nothing about it.
  const closed = cells.filter(
    ({ cell, best, summaries }) =>
      cell.kind === 'closed' && best.cpu !== null && summaries.has(first),
  );
  const leads = closed.filter(
    ({ best, versusBest }) => best.cpu === first || versusBest.cpu.get(first)?.outcome === 'tied',
  );
  if (closed.length > 1) {
    const others = closed.filter((one) => !leads.includes(one)).map(({ cell }) => cell.id);
    const rest = others.length > 0 ? `; not in ${list(others)}` : '';
    details.push(
      `${first} is cheapest or tied with the cheapest in ${leads.length} of ${closed.length} closed-loop cells${rest}.`,
    );
  }
  details.push(
    `In ${headline!.cell.id} differences within ±${percent(Math.exp(headline!.band.cpu) - 1, 1)} of CPU and ±${percent(Math.exp(headline!.band.rps) - 1, 1)} of requests/s count as equal.`,
  );
  return details;
}

/** The original's pair where it ran beside the league: told with its rounds, and not judged. */
function originalPair(analysis: StudyAnalysis): string[] {
  const found = differenceByConstruction(analysis);
  if (found?.slow !== 'httpx' || found.fast !== 'aiohttp') return [];
  const { sharedRatio, perRequestRatio } = found;
  const rounds = Math.min(sharedRatio.rounds, perRequestRatio.rounds);
  return [
    `The study’s own pair ran beside the league, in ${count(rounds, 'common round')}${rounds < ROUNDS_MIN ? ', too few for a verdict' : ''}: httpx takes ${ratio(sharedRatio.ratio)} the CPU of aiohttp with a shared client and ${ratio(perRequestRatio.ratio)} with a client per request.`,
  ];
}

function limitsOf(analysis: StudyAnalysis): string[] {
  const { results, gates, excluded, figures } = analysis;
  const limits: string[] = [];
  if (!results.complete) {
    limits.push('The study was interrupted: this is what had been measured until then.');
  }
  const limited = (id: string) => gates.find((one) => one.id === id && one.verdict === 'limited');
  const ceiling = limited('ceiling');
  if (ceiling !== undefined) {
    limits.push(
      `Rig-limited: the direct ceiling is ${ceiling.figure} where ${ceiling.limit} is asked, so requests/s understate the differences; CPU per request is not affected.`,
    );
  }
  const lag = limited('schedule-lag');
  if (lag !== undefined) {
    limits.push(
      `The open loop fell behind its schedule (${lag.figure}; asked: ${lag.limit}), so open-loop latencies are too high.`,
    );
  }
  const others = limited('others');
  if (others !== undefined) {
    limits.push(
      `Other processes ran on the machine meanwhile: ${others.figure}, ${others.limit} is asked; that widens the intervals.`,
    );
  }
  const rounds = results.settings.rounds;
  if (rounds < ROUNDS_FULL) {
    limits.push(
      `${count(rounds, 'round')}: the intervals are crude; ${ROUNDS_FULL} give a full verdict.`,
    );
  }
  if (/ --until-decided( |$)/.test(results.command)) {
    limits.push(
      'Rounds were added until the pairs were decided (--until-decided): stopping on the outcome makes a wrong verdict somewhat likelier than the confidence says.',
    );
  }
  if (excluded.size > 0) {
    const reasons = [...excluded].map(([entry, reason]) => `${entry} (${reason})`);
    limits.push(`Not ranked: ${list(reasons, 4)}.`);
  }
  if (analysis.sparse.size > 0) {
    const names = [...analysis.sparse].map(([entry, times]) => `${entry} (${times})`);
    limits.push(`Too few rounds to be placed, ${ROUNDS_MIN} are the least: ${list(names, 8)}.`);
  }
  if (results.leftOut.length > 0) limits.push(`Left out: ${list(results.leftOut, 4)}.`);
  const runtimes = new Set(figures.contestants().map(({ runtime }) => runtime));
  if (runtimes.size > 1) {
    const names = [...runtimes].map((runtime) => RUNTIMES[runtime]);
    limits.push(
      `Between ${list(names)} more than the client differs: the API server and its runtime do too.`,
    );
  }
  return limits;
}

function questionsOf(analysis: StudyAnalysis): VerdictText['questions'] {
  return [
    {
      question: 'How much of the difference is building a client per request?',
      answer: construction(analysis),
    },
    { question: 'Is anything blocking?', answer: blocking(analysis) },
    {
      question: 'At which upstream latency does the choice stop mattering?',
      answer: latency(analysis),
    },
  ];
}

function construction(analysis: StudyAnalysis): string {
  const costs = constructionCosts(analysis);
  if (costs.length === 0) {
    return 'Not measured: no client was run both shared and per request (add --reuse both).';
  }
  const shown = costs
    .sort((a, b) => b.comparison.ratio - a.comparison.ratio)
    .map(
      ({ shared, comparison }) =>
        `${shared} ${ratioWithInterval(comparison.ratio, comparison.interval)}${comparison.outcome === 'worse' ? '' : ` (${certainty(comparison)})`}`,
    );
  let answer = `CPU of a client per request over a shared one: ${list(shown, 8)}.`;
  const difference = differenceByConstruction(analysis);
  if (difference !== null) {
    const { slow, fast, perRequestRatio, sharedRatio, share } = difference;
    answer += ` ${slow} takes ${ratio(perRequestRatio.ratio)} the CPU of ${fast} with a client per request and ${ratio(sharedRatio.ratio)} with a shared one`;
    answer +=
      share > 0 && share < 1 && Math.min(perRequestRatio.rounds, sharedRatio.rounds) >= ROUNDS_MIN
        ? `: ${percent(share)} of that difference (on a log scale) is construction.`
        : ` (${count(Math.min(perRequestRatio.rounds, sharedRatio.rounds), 'round')}, measured and not judged).`;
  }
  return answer;
}

/** What keeps a comparison from a verdict: hardly any rounds, or what the rounds show. */
const certainty = ({ outcome, rounds }: Comparison): string =>
  rounds < ROUNDS_MIN ? `${outcome}, ${count(rounds, 'round')}` : outcome;

function blocking(analysis: StudyAnalysis): string {
  const all = blockingByEntry(analysis);
  if (all.length === 0) return 'Not measured: no API process reported its event-loop delay.';
  const stuck = all.filter(({ state }) => state === 'blocked');
  const busy = all.filter(({ state }) => state === 'busy');
  const free = all.length - stuck.length - busy.length;
  const least = Math.min(...stuck.map(({ rounds }) => rounds));
  const firm = least >= ROUNDS_MIN;
  const load = `under full load (${analysis.headline!.cell.id})`;
  let answer =
    stuck.length > 0
      ? `${firm ? 'Yes' : `Perhaps, but too few rounds to be sure (${count(least, 'round')})`}: ${load} ${list(stuck.map(describeDelay))} ${stuck.length === 1 ? 'holds' : 'hold'} the event loop.`
      : busy.length > 0
        ? `Nothing beyond the work itself ${load}.`
        : `No: ${load} the event loop’s p99 delay stays below ${BLOCKING_MS} ms with every one of ${all.length} clients (longest: ${all[0]!.entry}, ${number(all[0]!.loopDelayP99Ms)} ms).`;
  if (busy.length > 0) {
    answer += ` Busy, not blocked: ${list(busy.map(describeDelay), 4)}, of the order that serving each connection once takes.`;
  }
  if (free > 0 && free < all.length) {
    answer += ` ${free === 1 ? 'One other stays' : `The other ${free} stay`} below ${BLOCKING_MS} ms.`;
  }
  for (const { h1, h2 } of protocolPairs(analysis)) {
    answer += ` ${h2.entry} (HTTP/2): ${number(h2.loopDelayP99Ms)} ms against ${number(h1.loopDelayP99Ms)} ms for ${h1.entry}.`;
  }
  return answer;
}

function describeDelay({
  entry,
  loopDelayP99Ms,
  cpuUs,
}: ReturnType<typeof blockingByEntry>[number]): string {
  const worth = cpuUs === null ? null : (loopDelayP99Ms * 1000) / cpuUs;
  const detail =
    worth === null
      ? ''
      : `, the work of ${worth < 1.5 ? 'one request' : `${number(Math.round(worth))} requests`}`;
  return `${entry} (${number(loopDelayP99Ms)} ms${detail})`;
}

function latency(analysis: StudyAnalysis): string {
  const steps = latencySteps(analysis);
  if (steps.length === 0) {
    return 'Not measured: no two shared clients ran in cells that differ in upstream latency alone (add --latency 0,5,50,300).';
  }
  const shown = steps.map(({ cell, spread, worse, compared }) => {
    const others = compared - 1;
    return `${cell.upstreamLatencyMs} ms: ${worse.length} of ${others} (best over worst as measured: ${ratio(spread)})`;
  });
  const settled = steps.find((_, index) =>
    steps
      .slice(index)
      .every(({ worse, undecided: open }) => worse.length === 0 && open.length === 0),
  );
  const shape = `c=${steps[0]!.cell.connections}, shared clients`;
  const last = steps.at(-1)!;
  const end =
    settled !== undefined
      ? `From ${settled.cell.upstreamLatencyMs} ms on all are tied in requests/s`
      : last.worse.length === 0
        ? `At ${last.cell.upstreamLatencyMs} ms none is shown to be slower, ${last.undecided.length} remain undecided`
        : `Within what was measured it never stops: at ${last.cell.upstreamLatencyMs} ms ${list(last.worse)} still fall behind`;
  return `${end} (${shape}). Shown to answer fewer requests/s than the best, by upstream latency: ${shown.join('; ')}.`;
}
