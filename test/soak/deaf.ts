/** A port that answers to no connect: its process sleeps and its queue of one is full. */
import { connect, type Socket } from 'node:net';
import { LineChild } from './children.ts';
import { pause } from './storm-phases.ts';

export class DeafTarget {
  readonly port: number;
  readonly #child: LineChild;
  readonly #fillers: Socket[] = [];

  private constructor(child: LineChild, port: number) {
    this.#child = child;
    this.port = port;
  }

  static async start(): Promise<DeafTarget> {
    // Bun has its own mind about the length of the queue.
    const executable = process.versions['bun'] === undefined ? process.execPath : 'node';
    const child = new LineChild('deaf-child', [], executable);
    const target = new DeafTarget(child, Number(await child.line()));
    // The kernel takes as many as the queue has places, then it drops what asks.
    for (let i = 0; i < 6; i++) {
      const filler = connect(target.port, '127.0.0.1');
      filler.on('error', () => {});
      target.#fillers.push(filler);
      await pause(10);
    }
    return target;
  }

  async kill(): Promise<void> {
    await this.#child.kill();
    for (const filler of this.#fillers) filler.destroy();
  }
}
