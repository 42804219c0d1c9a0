/**
 * One contender of `bench:client` for one round and size, in a fresh process: warms up, then measures its
 * cells in short windows. Takes one argument, a {@link BlockRequest} as JSON, and prints a {@link Window}
 * per line.
 */
import { canMeasure, cpuBetween, cpuSnapshot } from '../gateway-bench/process-stats.ts';
import type { BlockRequest, Cell, Window } from './client-bench-types.ts';
import { contenders } from './client-contenders.ts';
import type { Open, OpenContender } from './client-drive.ts';

/** Opens the connections of a cell and lets it find its pace, ms. */
const settleMs = 40;
/** A wave of requests longer than this in all leaves a heap behind that small cells never see. */
const warmupWaveBytesMax = 16 * 1024 * 1024;

const request = JSON.parse(process.argv[2]!) as BlockRequest;
const measuresUpstream = canMeasure();

/** Nobody pays for the garbage of the cell before. */
function collectGarbage(): void {
  const { Bun, gc } = globalThis as { Bun?: { gc(sync: boolean): void }; gc?: () => void };
  if (Bun !== undefined) Bun.gc(true);
  else gc?.();
}

/** Bytes of a small object, roughly. */
const heldObjectBytes = 128;

/** Live objects as an application would have them; whoever collects garbage has to look at each. */
function hold(mb: number): object[] {
  const objects = Math.round((mb * 1024 * 1024) / heldObjectBytes);
  return Array.from({ length: objects }, (_, i) => ({ id: i, next: { at: i, of: [i] } }));
}

function openCell(open: Open, cell: Cell): OpenContender {
  return open({
    host: '127.0.0.1',
    port: request.port,
    path: `/${cell.sizeBytes}`,
    bodyBytes: cell.sizeBytes,
    connectionsMax: cell.concurrency,
  });
}

function until(ms: number): () => boolean {
  const endMs = performance.now() + ms;
  return () => performance.now() >= endMs;
}

async function warmUp(open: Open, cells: readonly Cell[]): Promise<void> {
  const chosen = cells.filter(
    (cell) => cells.length === 1 || cell.sizeBytes * cell.concurrency <= warmupWaveBytesMax,
  );
  for (const cell of chosen) {
    const { drive, close } = openCell(open, cell);
    await drive(cell.concurrency, until(request.warmupMs / chosen.length));
    await close();
  }
}

async function measure(open: Open, cell: Cell): Promise<Window> {
  const { drive, close } = openCell(open, cell);
  await drive(cell.concurrency, until(settleMs));
  collectGarbage();
  const upstreamBefore = measuresUpstream ? cpuSnapshot(request.upstreamPid) : null;
  const cpu = process.cpuUsage();
  const startMs = performance.now();
  const requests = await drive(cell.concurrency, until(request.windowMs));
  const wallMs = performance.now() - startMs;
  const used = process.cpuUsage(cpu);
  const upstreamUs =
    upstreamBefore === null ? null : cpuBetween(upstreamBefore, cpuSnapshot(request.upstreamPid));
  await close();
  return {
    ...cell,
    requests,
    wallMs,
    cpuUserUs: used.user,
    cpuSystemUs: used.system,
    upstreamCpu: upstreamUs === null ? null : upstreamUs / 1000 / wallMs,
    rssBytes: process.memoryUsage().rss,
  };
}

const contender = contenders.find((each) => each.name === request.contender);
if (contender === undefined) throw new Error(`no contender ${request.contender}`);
const open = await contender.load();
const held = hold(request.heldMb);
await warmUp(open, request.cells);
for (const cell of request.cells) console.log(JSON.stringify(await measure(open, cell)));
// Held until here.
held.length = 0;
process.exit(0);
