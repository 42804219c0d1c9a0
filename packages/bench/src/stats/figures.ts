/** Measurements turned round: one figure per cell, entry and round. */
import type { Cell, Entry, Measurement, StudyResults } from '../results/index.ts';
import type { ByRound } from './compare.ts';
import { steadyCpuUs } from './pieces.ts';

export interface Metric {
  id: 'cpu' | 'rps';
  title: string;
  unit: string;
  lowerIsBetter: boolean;
  of(measurement: Measurement, figures: Figures): number | null;
}

/** Primary: the steadiest figure on a machine whose cores are shared. */
export const CPU: Metric = {
  id: 'cpu',
  title: 'CPU per request',
  unit: 'µs',
  lowerIsBetter: true,
  of: (run, figures) => figures.cpuUs(run),
};

/** Co-primary. */
export const RPS: Metric = {
  id: 'rps',
  title: 'requests per second',
  unit: '/s',
  lowerIsBetter: false,
  of: ({ requestsPerS }) => requestsPerS,
};

/** Measurements of one study by cell and entry, in run order; a repeated run replaces the first. */
export class Figures {
  readonly results: StudyResults;
  readonly #runs = new Map<string, Map<number, Measurement>>();
  /** Of runs in pieces. */
  readonly #cpuUs = new Map<Measurement, number>();

  constructor(results: StudyResults) {
    this.results = results;
    const inOrder = [...results.measurements].sort((a, b) => a.order - b.order);
    for (const measurement of inOrder) {
      const key = `${measurement.cell}\n${measurement.entry}`;
      let byRound = this.#runs.get(key);
      if (byRound === undefined) {
        byRound = new Map();
        this.#runs.set(key, byRound);
      }
      byRound.set(measurement.round, measurement);
    }
    const together = new Map<string, Measurement[]>();
    for (const run of [...this.#runs.values()].flatMap((byRound) => [...byRound.values()])) {
      const key = `${run.cell}\n${run.round}`;
      together.set(key, [...(together.get(key) ?? []), run]);
    }
    for (const runs of together.values()) {
      const steady = steadyCpuUs(runs);
      for (const run of runs) {
        const cpuUs = steady.get(run.entry);
        if (cpuUs !== undefined) this.#cpuUs.set(run, cpuUs);
      }
    }
  }

  /** Runs of an entry in a cell, in run order. */
  runs(cell: string, entry: string): Measurement[] {
    return [...(this.#runs.get(`${cell}\n${entry}`)?.values() ?? [])];
  }

  /** CPU per request: of a run in pieces the steady one, else CPU through requests; null without. */
  cpuUs(run: Measurement): number | null {
    return this.#cpuUs.get(run) ?? run.api?.cpuPerRequestUs ?? null;
  }

  /** One value per round; rounds where the entry did no work are missing. */
  byRound(cell: string, entry: string, of: Metric['of']): ByRound {
    const values = new Map<number, number>();
    for (const measurement of this.runs(cell, entry)) {
      const value = measurement.completed > 0 ? of(measurement, this) : null;
      if (value !== null && value > 0) values.set(measurement.round, value);
    }
    return values;
  }

  entry(id: string): Entry {
    return this.results.entries.find((entry) => entry.id === id)!;
  }

  contestants(): Entry[] {
    return this.results.entries.filter(({ role }) => role === 'contestant');
  }

  twin(): Entry | null {
    return this.results.entries.find(({ role }) => role === 'twin') ?? null;
  }
}

/** Requests that did not end in a valid answer. */
export function errorsOf(run: Measurement): number {
  const failed = Object.values(run.errorCounts).reduce((total, count) => total + count, 0);
  return failed + run.completed - run.valid;
}

/**
 * The cell the verdict is drawn from: closed loop, no added upstream latency, connections closest to
 * 50 (by ratio), then the most requests.
 */
export function headlineCell(results: StudyResults): Cell | null {
  const measured = new Set(results.measurements.map(({ cell }) => cell));
  const closed = results.cells.filter(({ id, kind }) => kind === 'closed' && measured.has(id));
  const prompt = closed.filter(({ upstreamLatencyMs }) => upstreamLatencyMs === 0);
  const candidates = prompt.length > 0 ? prompt : closed;
  const distance = (cell: Cell) => Math.abs(Math.log(cell.connections / 50));
  const sorted = [...candidates].sort(
    (a, b) => distance(a) - distance(b) || (b.requests ?? 0) - (a.requests ?? 0),
  );
  return sorted[0] ?? null;
}
