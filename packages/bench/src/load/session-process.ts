/** Loads that run in pieces, in one process that lives as long as they do: its code stays warm. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { CliError, type ExitCode } from '../cli-error.ts';
import { encodePlan } from './plan.ts';
import type { PhaseCount, PhaseLimits } from './session.ts';
import type { SessionAnswer, SessionCommand } from './session-child.ts';
import { type LoadRuntime, runtimeCommand } from './spawn.ts';
import type { LoadPlan, LoadResult } from './types.ts';

type WithoutId<Command> = Command extends { id: number } ? Omit<Command, 'id'> : never;

interface Waiting {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

export class SessionProcess {
  readonly child: ChildProcess;
  readonly #plans = new Map<number, LoadPlan>();
  readonly #waiting = new Map<number, Waiting>();
  #lastId = 0;
  #ended: string | null = null;

  /** @param launcher words in front of the command, for example `taskset -c 1` */
  constructor(options: { runtime?: LoadRuntime; launcher?: readonly string[] } = {}) {
    const command = runtimeCommand(options.runtime ?? 'auto');
    const script = fileURLToPath(new URL('./session-child.js', import.meta.url));
    const [file, ...words] = [...(options.launcher ?? []), command, script];
    // A group of its own, so that whoever guards it can end it whole.
    this.child = spawn(file!, words, { detached: true, stdio: ['pipe', 'pipe', 'inherit'] });
    this.child.on('error', (error) => this.#end(`cannot start ${command}: ${error.message}`));
    this.child.on('close', (code, signal) =>
      this.#end(`the load generator ended with ${signal ?? `code ${code}`}`),
    );
    this.child.stdin!.on('error', () => {});
    createInterface({ input: this.child.stdout! }).on('line', (line) => this.#heard(line));
  }

  /** Opens all connections of a plan. @returns the number of the session */
  async open(plan: LoadPlan): Promise<number> {
    const session = ++this.#lastId;
    this.#plans.set(session, plan);
    await this.#ask({ do: 'open', session, plan: encodePlan(plan) });
    return session;
  }

  /** One piece, to its last answer. */
  async run(session: number, limits: PhaseLimits, recorded: boolean): Promise<PhaseCount> {
    return (await this.#ask({ do: 'run', session, limits, recorded })) as PhaseCount;
  }

  /** Everything recorded in the session since the last result, as one run. */
  async result(session: number): Promise<LoadResult> {
    const result = (await this.#ask({ do: 'result', session })) as Omit<LoadResult, 'plan'>;
    return { ...result, plan: this.#plans.get(session)! };
  }

  async close(session: number): Promise<void> {
    this.#plans.delete(session);
    await this.#ask({ do: 'close', session });
  }

  /** Ends the process; what was asked and not answered is rejected. */
  stop(): void {
    this.child.stdin!.end();
    this.child.kill('SIGKILL');
  }

  #ask(command: WithoutId<SessionCommand>): Promise<unknown> {
    if (this.#ended !== null) return Promise.reject(new CliError(this.#ended));
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.child.stdin!.write(`${JSON.stringify({ ...command, id })}\n`);
    });
  }

  #heard(line: string): void {
    let answer: SessionAnswer;
    try {
      answer = JSON.parse(line) as SessionAnswer;
    } catch {
      return;
    }
    const waiting = this.#waiting.get(answer.id);
    this.#waiting.delete(answer.id);
    if ('error' in answer) {
      waiting?.reject(new CliError(answer.error, answer.exitCode as ExitCode));
    } else waiting?.resolve(answer.value);
  }

  #end(why: string): void {
    this.#ended ??= why;
    for (const { reject } of this.#waiting.values()) reject(new CliError(this.#ended));
    this.#waiting.clear();
  }
}
