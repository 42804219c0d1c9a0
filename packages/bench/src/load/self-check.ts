/** Whether a run says something about the server rather than about the generator. */
import type { PhaseOutcome } from './engine.ts';
import { scheduleOf } from './schedule.ts';
import type { LoadPlan, LoadResult } from './types.ts';

/** Beyond this share of a core the generator may be what limits. */
export const utilisationMax = 0.8;
const littleTolerance = 0.05;
const achievedMin = 0.95;

/**
 * Little's law: throughput times mean latency over the mean number under way; 1 when the books
 * balance. In a closed loop every connection always has its number of requests under way.
 */
export function littlesLaw(
  plan: LoadPlan,
  openLoop: boolean,
  requestsPerS: number,
  meanMs: number,
  outcome: Pick<PhaseOutcome, 'inFlightMean'>,
): number {
  const underWay = openLoop ? outcome.inFlightMean : plan.connections * plan.streamsPerConnection;
  return underWay === 0 ? 0 : (requestsPerS * meanMs) / 1_000 / underWay;
}

const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;

/**
 * Requests of an open loop's schedule that nobody accounts for: neither answered nor failed, dropped
 * or cut off. More than none means that the generator itself lost them, a wake-up for example.
 */
export function unaccountedRequests(result: Omit<LoadResult, 'selfCheckProblems'>): number {
  const { plan } = result;
  const schedule = scheduleOf(plan);
  if (schedule === null || result.interrupted) return 0;
  const requestsMax = plan.requests ?? Number.POSITIVE_INFINITY;
  // A due instant right at the end may be rounded to either side of it.
  const endMs = (plan.durationMs ?? Number.POSITIVE_INFINITY) - 1e-6;
  // The first request is sent whatever the duration.
  let scheduled = 1;
  for (schedule.advance(); scheduled < requestsMax && schedule.dueMs < endMs; schedule.advance()) {
    scheduled++;
  }
  const errors = Object.values(result.errorCounts).reduce((sum, count) => sum + count, 0);
  const known = result.completed + errors + result.dropped + result.abortedAtDeadline;
  return Math.max(0, scheduled - known);
}

/** Each reason not to conclude anything, one sentence; empty when the run is sound. */
export function selfCheck(result: Omit<LoadResult, 'selfCheckProblems'>): string[] {
  const problems: string[] = [];
  const { plan } = result;
  const openLoop = result.scheduleLagP99Ms !== null;
  if (result.completed === 0) problems.push('No request completed.');
  if (result.cpuUtilisation > utilisationMax) {
    problems.push(
      `The generator used ${percent(result.cpuUtilisation)} of a core: what it shows may be its own ceiling.`,
    );
  }
  // A short run has a ramp up and a tail in which not every connection is busy.
  const slots = plan.connections * plan.streamsPerConnection;
  const steady = result.completed >= 20 * slots && result.abortedAtDeadline === 0;
  const off = Math.abs(result.littlesLawRatio - 1);
  if (steady && Object.keys(result.errorCounts).length === 0 && off > littleTolerance) {
    problems.push(
      `Little's law is off by ${percent(off)}: throughput and latency do not describe the same run.`,
    );
  }
  if (!openLoop && plan.keepAlive) {
    const wanted = Math.min(plan.connections, plan.requests ?? plan.connections);
    if (result.connectionsEstablished < wanted) {
      problems.push(`Only ${result.connectionsEstablished} of ${wanted} connections were opened.`);
    }
  }
  const allowed = result.http2?.streamsAllowed ?? null;
  if (allowed !== null && allowed < plan.streamsPerConnection) {
    problems.push(
      `The server allows ${allowed} streams on a connection: of ${plan.streamsPerConnection} the rest waited in the generator, and that time counts as latency.`,
    );
  }
  if (openLoop) {
    const lag = result.scheduleLagP99Ms ?? 0;
    if (lag > 0.5 && lag > 0.1 * result.latencyMs.p50) {
      problems.push(
        `Requests left up to ${lag.toFixed(2)} ms late (p99): the generator could not keep its schedule.`,
      );
    }
    if (result.dropped > 0) {
      problems.push(
        `${result.dropped} requests were not sent because ${plan.inFlightMax} were under way already.`,
      );
    }
    const lost = unaccountedRequests(result);
    if (lost > 0) {
      problems.push(
        `${lost} requests of the schedule were neither sent nor dropped: the generator lost them.`,
      );
    }
    const achieved = result.achievedOverOffered ?? 1;
    if (achieved < achievedMin) {
      problems.push(`Only ${percent(achieved)} of the offered rate was achieved.`);
    }
  }
  return problems;
}
