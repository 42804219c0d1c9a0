/**
 * What throws where nothing may: a bug of ours, or a hook of somebody else's. It must end neither the
 * process nor, unheard, the thing it was about. Whoever calls something that may throw from a timer, a
 * callback of the system or a loop over others catches it there, reports it here, and fails only what
 * the call was for.
 */

/** Takes what was thrown and where, in words: `the health check of a target`. Must not throw. */
export type FaultReport = (error: unknown, where: string) => void;

/** Kinds that are told apart; the rest is one kind. */
const kindsMax = 200;
const everyMs = 10_000;
const stackCharsMax = 2000;

interface Kind {
  /** Since its last line. */
  unsaid: number;
  saidMs: number;
}

/** One line: the message and where it was thrown, innermost first. */
export function faultLine(error: unknown): string {
  let text = String(error);
  if (error instanceof Error) {
    const stack = error.stack ?? '';
    // Some runtimes begin the stack with the message, some do not.
    text = stack.includes(error.message) ? stack : `${text}\n${stack}`;
    const { cause } = error;
    if (cause instanceof Error) text += `\ncaused by ${cause.stack ?? cause.message}`;
  }
  const line = text
    .split('\n')
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .join(' | ');
  return line.length > stackCharsMax ? `${line.slice(0, stackCharsMax)}…` : line;
}

/**
 * Writes a line for each fault, but for each kind of them only the first in ten seconds, with how
 * many there were since: a timer that throws each time must not fill a disk.
 */
export class FaultLog {
  readonly #write: (line: string) => void;
  readonly #nowMs: () => number;
  readonly #kinds = new Map<string, Kind>();

  /** `nowMs` is monotonic. */
  constructor(
    write: (line: string) => void = (line) => console.error(line),
    nowMs: () => number = () => performance.now(),
  ) {
    this.#write = write;
    this.#nowMs = nowMs;
  }

  readonly add: FaultReport = (error, where) => {
    try {
      this.#add(error, where);
    } catch {
      // Nobody is left to tell: an error that cannot be printed, or nowhere to print it.
    }
  };

  #add(error: unknown, where: string): void {
    const nowMs = this.#nowMs();
    const kind = this.#kindOf(`${where} ${placeOf(error)}`);
    if (nowMs - kind.saidMs < everyMs) {
      kind.unsaid++;
      return;
    }
    const more = kind.unsaid === 0 ? '' : ` (and ${kind.unsaid} more like it)`;
    kind.unsaid = 0;
    kind.saidMs = nowMs;
    this.#write(`onehop: internal error in ${where}${more}: ${faultLine(error)}`);
  }

  #kindOf(name: string): Kind {
    const key = this.#kinds.size < kindsMax || this.#kinds.has(name) ? name : '';
    let kind = this.#kinds.get(key);
    if (kind === undefined) {
      kind = { unsaid: 0, saidMs: Number.NEGATIVE_INFINITY };
      this.#kinds.set(key, kind);
    }
    return kind;
  }
}

/** Where it was thrown: the same for all of a kind, as messages are not. */
function placeOf(error: unknown): string {
  const stack = error instanceof Error ? (error.stack ?? '') : '';
  return /\n?\s*at .*/.exec(stack)?.[0].trim() ?? stack.split('\n', 1)[0]!;
}

const log = new FaultLog();

/** Where faults go that nobody else takes: a line on stderr. */
export const reportFault: FaultReport = log.add;
