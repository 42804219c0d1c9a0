/**
 * A load that is run in pieces: the connections stay, and what the recorded pieces measured adds up
 * to one result. Made for comparing servers by turns, so that whatever changes on the machine hits
 * all of them alike.
 */
import { transport as runtimeTransport, type Transport } from 'onehop/transport';
import type { PhaseOutcome } from './engine.ts';
import { checkPlan } from './plan.ts';
import type { Recorder } from './recorder.ts';
import { Origins, prepareRequests } from './request.ts';
import { makeResult, newEngine, newRecorder, type Usage, usage } from './run.ts';
import { scheduleOf } from './schedule.ts';
import type { LoadPlan, LoadResult } from './types.ts';

/** What a piece came to. */
export interface PhaseCount {
  completed: number;
  durationMs: number;
}

/** Ends of a piece; at least one. */
export interface PhaseLimits {
  requests: number | null;
  durationMs: number | null;
}

const noUsage: Usage = { cpuUs: 0, loop: null };

/** Adds what was used from `before` to `after`. */
function addUsage(sum: Usage, before: Usage, after: Usage): Usage {
  const loop =
    before.loop === null || after.loop === null
      ? sum.loop
      : {
          active: (sum.loop?.active ?? 0) + after.loop.active - before.loop.active,
          idle: (sum.loop?.idle ?? 0) + after.loop.idle - before.loop.idle,
        };
  return { cpuUs: sum.cpuUs + after.cpuUs - before.cpuUs, loop };
}

function addOutcome(sum: PhaseOutcome | null, next: PhaseOutcome): PhaseOutcome {
  if (sum === null) return next;
  const durationMs = sum.durationMs + next.durationMs;
  const area = sum.inFlightMean * sum.durationMs + next.inFlightMean * next.durationMs;
  return {
    startedMs: sum.startedMs,
    durationMs,
    abortedAtDeadline: sum.abortedAtDeadline + next.abortedAtDeadline,
    inFlightMean: area / durationMs,
  };
}

/** Closed loop only: an open loop's schedule cannot be cut into pieces. */
export class LoadSession {
  private readonly plan: LoadPlan;
  private readonly origins: Origins;
  private readonly engine: ReturnType<typeof newEngine>;
  private recorder: Recorder;
  private outcome: PhaseOutcome | null = null;
  private used: Usage = noUsage;
  private startedAt: string | null = null;

  private constructor(plan: LoadPlan, origins: Origins, engine: ReturnType<typeof newEngine>) {
    this.plan = plan;
    this.origins = origins;
    this.engine = engine;
    this.recorder = newRecorder(plan);
  }

  /** Resolves names and opens all connections. @throws CliError as `runLoad` does */
  static async open(plan: LoadPlan, transport: Transport = runtimeTransport): Promise<LoadSession> {
    checkPlan(plan);
    const origins = new Origins(plan);
    const requests = await prepareRequests(plan, origins);
    const session = new LoadSession(plan, origins, newEngine(plan, transport, origins, requests));
    await session.engine.connectAll(session.recorder);
    return session;
  }

  /**
   * Runs one piece and waits for its last answer. Only what is `recorded` comes into the result.
   * @throws LoadAbort when the server cannot be reached any more
   */
  async run(limits: PhaseLimits, recorded: boolean): Promise<PhaseCount> {
    const recorder = recorded ? this.recorder : newRecorder(this.plan);
    const completedBefore = recorder.completed;
    if (recorded) this.startedAt ??= new Date().toISOString();
    const before = usage();
    const outcome = await this.engine.runPhase(
      {
        recorder,
        ...limits,
        schedule: scheduleOf(this.plan),
        waitOngoing: true,
        recordedMs: recorded ? (this.outcome?.durationMs ?? 0) : 0,
      },
      null,
    );
    if (recorded) {
      this.used = addUsage(this.used, before, usage());
      this.outcome = addOutcome(this.outcome, outcome);
    }
    return { completed: recorder.completed - completedBefore, durationMs: outcome.durationMs };
  }

  /** The recorded pieces as one run; recording starts afresh. */
  result(): LoadResult {
    if (this.outcome === null) throw new Error('nothing was recorded');
    const result = makeResult({
      plan: this.plan,
      recorder: this.recorder,
      engine: this.engine,
      outcome: this.outcome,
      before: { cpuUs: 0, loop: this.used.loop === null ? null : { active: 0, idle: 0 } },
      after: this.used,
      startedAt: this.startedAt!,
      lookupMs: this.origins.lookupMs,
      interrupted: false,
    });
    this.recorder = newRecorder(this.plan);
    this.outcome = null;
    this.used = noUsage;
    this.startedAt = null;
    return result;
  }

  close(): void {
    this.engine.shutdown();
  }
}
