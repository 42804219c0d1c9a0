/** Which contestants of which runtime, in which mode, take part; and the controls beside them. */
import { CliError } from '../cli-error.ts';
import { entryId } from '../contestants/entry-id.ts';
import type { ContestantInfo, ReuseMode, Runtime } from '../contestants/types.ts';
import type { Cell, Entry } from '../results/types.ts';
import type { StudyOptions } from './options.ts';
import type { Task } from './schedule.ts';
import { nearest } from './suggest.ts';

/** A contestant on one runtime, ready to take part. */
export interface CatalogueItem extends Omit<ContestantInfo, 'runtimes' | 'package'> {
  runtime: Runtime;
  version: string;
  package?: string | null;
  source?: string;
}

export interface Catalogue {
  items: CatalogueItem[];
  /** Every name that exists, also of what cannot run here. */
  knownNames: string[];
}

/** Fast and steady, hence good for showing the rig's noise; the first that takes part is entered twice. */
const TWIN_CANDIDATES = [
  'undici-request',
  'onehop',
  'node-http',
  'undici-dispatch',
  'fetch',
  'chat-undici',
  'chat-onehop',
];
/** On Bun the default study asks what changes with the runtime, not for every client again. */
const BUN_DEFAULTS = ['onehop', 'onehop-fetch', 'bun-fetch', 'node-http', 'axios'];
/** Who goes through the further cells by default: from every family one that is placed, so warm. */
const FURTHER_CELLS_DEFAULTS = [
  'onehop',
  'undici-request',
  'node-http',
  'fetch',
  'openai',
  'openai-onehop',
  'chat-undici',
];

/** The cheapest of them and the dearest: each slow upstream needs fresh processes. */
const SLOW_UPSTREAM = ['onehop', 'fetch', 'openai', 'openai-onehop'];

/** Whether `--clients` picks the item: by name, or by name and runtime as in `onehop@bun`. */
function isWanted(item: CatalogueItem, options: StudyOptions): boolean {
  if (options.clients === null) {
    if (options.planning === 'uniform' || item.runtime !== 'bun') return true;
    return options.runtimes.length === 1 || BUN_DEFAULTS.includes(item.name);
  }
  return options.clients.some(
    (wanted) =>
      wanted === 'all' || wanted === item.name || wanted === `${item.name}@${item.runtime}`,
  );
}

/** By default the price of construction is asked for once per client, on Node. */
function isBeyondDefault(item: CatalogueItem, reuse: ReuseMode, options: StudyOptions): boolean {
  if (options.clients !== null || options.planning === 'uniform') return false;
  if (options.runtimes.length === 1 || options.reuse.length === 1) return false;
  return item.runtime === 'bun' && reuse === 'per-request';
}

/** @throws CliError that names the known clients and the nearest to what was given */
export function checkClientNames(
  clients: readonly string[] | null,
  known: readonly string[],
): void {
  for (const wanted of clients ?? []) {
    const [name = '', runtime] = wanted.split('@');
    if (runtime !== undefined && !['node', 'bun', 'python'].includes(runtime)) {
      throw new CliError(
        `--clients: "${wanted}" asks for an unknown runtime; there are node, bun, python`,
      );
    }
    if (name === 'all' || known.includes(name)) continue;
    const guess = nearest(name, known);
    throw new CliError(
      `--clients: there is no client "${name}"${guess === null ? '' : `; did you mean ${guess}?`} ` +
        `(known: ${known.join(', ')})`,
    );
  }
}

function runs(item: CatalogueItem, options: StudyOptions): boolean {
  return item.runtime === 'python'
    ? options.python === 'auto'
    : options.runtimes.includes(item.runtime);
}

/** Contestants in their modes, then the twin and the controls. @throws CliError when none is left */
export function buildEntries(options: StudyOptions, catalogue: Catalogue): Entry[] {
  checkClientNames(options.clients, catalogue.knownNames);
  const entries: Entry[] = [];
  for (const item of catalogue.items) {
    if (!runs(item, options) || !isWanted(item, options)) continue;
    for (const reuse of options.reuse) {
      if (!item.modes.includes(reuse) || isBeyondDefault(item, reuse, options)) continue;
      entries.push({
        id: entryId(item.name, item.runtime, reuse),
        role: 'contestant',
        contestant: item.name,
        ...(item.package === undefined ? {} : { package: item.package }),
        runtime: item.runtime,
        reuse,
        protocol: item.protocol,
        version: item.version,
        twinOf: null,
        note: item.note,
        ...(item.source === undefined ? {} : { source: item.source }),
      });
    }
  }
  if (entries.length === 0) {
    throw new CliError(
      'no client is left to study with these --clients, --reuse, --runtime and --python',
    );
  }
  const original = chooseTwin(entries);
  entries.push(
    {
      ...original,
      id: `${original.id}.twin`,
      role: 'twin',
      twinOf: original.id,
      note: `${original.id} a second time: shows the noise of the rig`,
    },
    control('direct', 'The generator straight against the upstream: the ceiling of the rig'),
    control('null-forwarder', 'Splices bytes to the upstream without reading them: the floor'),
  );
  return entries;
}

function chooseTwin(entries: readonly Entry[]): Entry {
  for (const name of TWIN_CANDIDATES) {
    const found = entries.find(
      (entry) => entry.contestant === name && entry.reuse === 'shared' && entry.runtime === 'node',
    );
    if (found !== undefined) return found;
  }
  return entries.find((entry) => entry.reuse === 'shared') ?? entries[0]!;
}

function control(role: 'direct' | 'null-forwarder', note: string): Entry {
  return {
    id: role,
    role,
    contestant: role,
    runtime: 'node',
    reuse: 'shared',
    protocol: 'http/1.1',
    version: process.versions.node,
    twinOf: null,
    note,
  };
}

/**
 * The clients that the default study places, per runtime: within its time budget not all can have
 * rounds enough. The others, and with `--clients` none, take turns in the time that is left.
 */
const PLACED_DEFAULTS: Partial<Record<Runtime, readonly string[]>> = {
  node: ['onehop', 'onehop-fetch', 'undici-request', 'undici-dispatch', 'node-http', 'fetch'],
  bun: ['onehop', 'onehop-fetch', 'node-http'],
};

/** The entries whose rounds come first in a tiered study. */
function isMain(entry: Entry, original: Entry, options: StudyOptions): boolean {
  if (entry.role !== 'contestant') return true;
  if (entry.reuse !== original.reuse) return false;
  if (options.clients !== null) return true;
  return PLACED_DEFAULTS[entry.runtime]?.includes(entry.contestant) === true;
}

/** The original's own pair: the study exists because of it. */
const ORIGINALS = ['httpx', 'aiohttp'];
/** Rounds of these that the default keeps time for, in both modes; one of their variants. */
const ORIGINALS_PROMISED = 2;

/** Closed loop, no added latency: a point of the plots over connections. */
const isSweep = ({ kind, upstreamLatencyMs }: Cell): boolean =>
  kind === 'closed' && upstreamLatencyMs === 0;

/** Whether an entry of a tiered study goes through a cell other than the main one. */
function goesFurther(entry: Entry, cell: Cell, original: Entry, options: StudyOptions): boolean {
  if (entry.role === 'direct') return true;
  if (options.clients === null && entry.runtime === 'python') {
    return ORIGINALS.includes(entry.contestant) && entry.reuse === 'shared' && isSweep(cell);
  }
  if (entry.role !== 'contestant' || entry.reuse !== original.reuse) return false;
  if (entry.runtime !== original.runtime) return false;
  return options.clients !== null || FURTHER_CELLS_DEFAULTS.includes(entry.contestant);
}

/**
 * Tasks of a study. Uniform: everything with everything. Tiered: the main cell for all entries, the
 * other cells for the main entries only.
 */
export function buildTasks(
  options: StudyOptions,
  entries: readonly Entry[],
  cells: readonly Cell[],
): Task[] {
  const tasks: Task[] = [];
  const twin = entries.find((entry) => entry.role === 'twin');
  const original = entries.find((entry) => entry.id === twin?.twinOf) ?? entries[0]!;
  for (const entry of entries) {
    for (const [index, cell] of cells.entries()) {
      // The floor and the ceiling of a plain splice say nothing about a multiplexed upstream.
      const control = entry.role === 'direct' || entry.role === 'null-forwarder';
      const main =
        options.planning === 'uniform' || (index === 0 && isMain(entry, original, options));
      if (options.planning === 'tiered' && index > 0) {
        if (!goesFurther(entry, cell, original, options)) continue;
      }
      tasks.push({
        entry: entry.id,
        cell: cell.id,
        main,
        weight: sideWeight(entry, index),
        promised: main || control ? 0 : promisedRounds(entry, cell, index, options),
        together:
          index > 0 ? cell.id : ORIGINALS.includes(entry.contestant) ? 'the original' : null,
        control: control && !main,
      });
    }
  }
  return tasks;
}

/**
 * Rounds of a side task that time is kept for: Python and a client per request, which the original
 * study is about, its plots over connections, an open loop, and with few clients a slow upstream.
 */
function promisedRounds(
  entry: Entry,
  cell: Cell,
  cellIndex: number,
  { planning }: StudyOptions,
): number {
  if (planning === 'uniform') return 0;
  if (cellIndex > 0) {
    return cell.upstreamLatencyMs === 0 || SLOW_UPSTREAM.includes(entry.contestant) ? 1 : 0;
  }
  if (ORIGINALS.includes(entry.contestant)) return ORIGINALS_PROMISED;
  if (entry.runtime === 'python') return entry.reuse === 'shared' ? 1 : 0;
  const typical = FURTHER_CELLS_DEFAULTS.includes(entry.contestant);
  return typical && entry.reuse === 'per-request' && entry.runtime === 'node' ? 1 : 0;
}

/** The original's own question, Python and reuse, comes before the further cells. */
function sideWeight(entry: Entry, cellIndex: number): number {
  if (cellIndex > 0) return 1;
  if (entry.runtime === 'python') return entry.reuse === 'shared' ? 3 : 2;
  return 2;
}
