/**
 * The generating process of loads that run in pieces: commands come as lines of JSON on its standard
 * input and are carried out in order within a session, each answered by one line. When its input ends, its
 * parent is gone and so is it.
 */
import { createInterface } from 'node:readline';
import { CliError } from '../cli-error.ts';
import { decodePlan } from './plan.ts';
import { LoadSession, type PhaseLimits } from './session.ts';

export type SessionCommand =
  | { id: number; do: 'open'; session: number; plan: string }
  | { id: number; do: 'run'; session: number; limits: PhaseLimits; recorded: boolean }
  | { id: number; do: 'result'; session: number }
  | { id: number; do: 'close'; session: number };

export type SessionAnswer =
  | { id: number; value: unknown }
  | { id: number; error: string; exitCode: number };

const sessions = new Map<number, LoadSession>();

async function carryOut(command: SessionCommand): Promise<unknown> {
  if (command.do === 'open') {
    sessions.set(command.session, await LoadSession.open(decodePlan(command.plan)));
    return null;
  }
  const session = sessions.get(command.session);
  if (session === undefined) throw new Error(`there is no session ${command.session}`);
  if (command.do === 'run') return session.run(command.limits, command.recorded);
  if (command.do === 'result') {
    // The parent has the plan, whose bytes need not travel as JSON.
    const { plan: _, ...result } = session.result();
    return result;
  }
  session.close();
  sessions.delete(command.session);
  return null;
}

async function answer(command: SessionCommand): Promise<void> {
  let said: SessionAnswer;
  try {
    said = { id: command.id, value: await carryOut(command) };
  } catch (error) {
    const expected = error instanceof CliError;
    said = {
      id: command.id,
      error: expected ? error.message : String((error as Error).stack ?? error),
      exitCode: expected ? error.exitCode : 1,
    };
  }
  process.stdout.write(`${JSON.stringify(said)}\n`);
}

// A terminal sends Ctrl-C to the whole group; the parent decides and ends this process.
process.on('SIGINT', () => {});
const last = new Map<number, Promise<void>>();
const lines = createInterface({ input: process.stdin });
lines.on('line', (line) => {
  const command = JSON.parse(line) as SessionCommand;
  const { session } = command;
  const done = (last.get(session) ?? Promise.resolve()).then(() => answer(command));
  if (command.do === 'close') last.delete(session);
  else last.set(session, done);
});
lines.on('close', () => process.exit(0));
