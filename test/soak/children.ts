/** Processes that talk in lines: started, asked, ended. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export class LineChild {
  readonly #child: ChildProcess;
  readonly #lines: string[] = [];
  readonly #waiting: { heard: (line: string) => void; lost: (error: Error) => void }[] = [];
  readonly exited: Promise<void>;
  /** How it ended: a signal or an exit code; null while it runs. */
  ended: string | null = null;

  /** `script`: name beside this file, without `.js`. `executable`: default the runtime of this. */
  constructor(script: string, args: readonly string[], executable = process.execPath) {
    const file = fileURLToPath(new URL(`./${script}.js`, import.meta.url));
    this.#child = spawn(executable, [file, ...args], { stdio: ['pipe', 'pipe', 'inherit'] });
    createInterface({ input: this.#child.stdout! }).on('line', (line) => {
      const next = this.#waiting.shift();
      if (next === undefined) this.#lines.push(line);
      else next.heard(line);
    });
    // Behind the last line.
    this.#child.once('close', () => {
      for (const { lost } of this.#waiting.splice(0))
        lost(new Error(`a child ended (${this.ended})`));
    });
    this.exited = new Promise((resolve) => {
      this.#child.on('exit', (code, signal) => {
        this.ended = signal ?? `exit code ${code}`;
        resolve();
      });
    });
    // Whose process is gone cannot be written to; the missing answer tells.
    this.#child.stdin!.on('error', () => {});
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** The next line it says. */
  line(timeoutMs = 20_000): Promise<string> {
    const early = this.#lines.shift();
    if (early !== undefined) return Promise.resolve(early);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('a child says nothing')), timeoutMs);
      const settled = (settle: () => void): void => {
        clearTimeout(timer);
        settle();
      };
      this.#waiting.push({
        heard: (line) => settled(() => resolve(line)),
        lost: (error) => settled(() => reject(error)),
      });
    });
  }

  ask(text: string, timeoutMs?: number): Promise<string> {
    this.#child.stdin!.write(`${text}\n`);
    return this.line(timeoutMs);
  }

  /** Ends its input, which is how it is told to go. */
  async stop(): Promise<void> {
    this.#child.stdin!.end();
    await this.exited;
  }

  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.exited;
  }
}
