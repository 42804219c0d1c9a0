/** What a soak with long bodies must hold, and how it is told. */
import type { BodiesResult, MemorySample } from './bodies.ts';
import { sizesMb, type Tally, type TransferReport } from './bodies-tally.ts';

const median = (values: number[]): number =>
  values.sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;

/** Median of the last third less that of the first. */
function growth(memory: readonly MemorySample[], of: (sample: MemorySample) => number): number {
  const third = Math.max(1, Math.floor(memory.length / 3));
  return median(memory.slice(-third).map(of)) - median(memory.slice(0, third).map(of));
}

export const growthOf = ({ memory }: BodiesResult) => ({
  gatewayMb: growth(memory, ({ gatewayMb }) => gatewayMb),
  clientMb: growth(memory, ({ clientMb }) => clientMb),
});

const sumOf = ({ kinds }: TransferReport, part: string, of: (tally: Tally) => number): number =>
  Object.entries(kinds).reduce(
    (sum, [kind, tally]) => (kind.includes(part) ? sum + of(tally) : sum),
    0,
  );

function missing(who: string, report: TransferReport): string[] {
  return sizesMb.flatMap((mb) =>
    ['upload', 'download']
      .map((direction) => `${direction} ${mb} MB`)
      .filter((kind) => sumOf(report, ` ${kind} `, ({ done }) => done) === 0)
      .map((kind) => `${who}: not one ${kind}`),
  );
}

/** The reasons why a soak does not hold; none when it does. */
export function judgeBodies(result: BodiesResult, rssGrowthMbMax: number): string[] {
  const { gateway, client, ended, after } = result;
  const wrong = [...ended];
  for (const [who, report] of Object.entries({ gateway, client })) {
    if (report === null) continue;
    if (report.failed > 0) wrong.push(`${who}: ${report.failed} transfers failed`);
    wrong.push(...missing(who, report));
  }
  if (after === null) wrong.push('the gateway cannot be asked any more');
  else {
    const { idle, busy, opening } = after.pool;
    if (after.pending + after.queued + after.callers > 0) wrong.push('a gauge is not zero');
    if (idle + busy + opening > 0) wrong.push('upstream connections are left');
  }
  if (client === null) wrong.push('the client does not answer any more');
  else if (client.connections.busy + client.connections.opening > 0) {
    wrong.push('connections of the client are left');
  }
  const { gatewayMb, clientMb } = growthOf(result);
  if (gatewayMb > rssGrowthMbMax) wrong.push('the memory of the gateway grows');
  if (clientMb > rssGrowthMbMax) wrong.push('the memory of the client grows');
  return wrong;
}

const gb = (bytes: number): string => `${(bytes / 1e9).toFixed(2)} GB`;

function describe(who: string, report: TransferReport): string[] {
  const all = (of: (tally: Tally) => number, part = ''): number => sumOf(report, part, of);
  const long = all(({ done }) => done) - all(({ done }) => done, ' small');
  const lines = [
    `  ${who}: ${long} long bodies, ${all(({ done }) => done, ' small')} small ones, ` +
      `${gb(all(({ bytes }) => bytes))}; ${all(({ left }) => left)} callers left half-way, ` +
      `${report.failed} failed`,
  ];
  for (const direction of ['download', 'upload']) {
    const counts = sizesMb.map((mb) => {
      const kind = ` ${direction} ${mb} MB `;
      const [done, held] = [all((t) => t.done, kind), all((t) => t.held, kind)];
      return `${mb} MB ${done} (${all((t) => t.done, `${kind}chunked`)} chunked, ${held} held up)`;
    });
    lines.push(`    ${direction}s: ${counts.join(', ')}`);
  }
  for (const failure of report.failures) lines.push(`    ${failure}`);
  return lines;
}

export function describeBodies(result: BodiesResult): string {
  const { gateway, client, memory, after } = result;
  const grown = growthOf(result);
  const few = memory.filter((_, index) => index % Math.ceil(memory.length / 20) === 0);
  const row = (of: (sample: MemorySample) => number): string =>
    few.map((sample) => of(sample).toFixed(0)).join(' ');
  return [
    `${result.durationS} s`,
    ...describe('gateway', gateway),
    ...(client === null ? [] : describe('client', client)),
    `  RSS, MB: gateway ${row(({ gatewayMb }) => gatewayMb)}, grown by ${grown.gatewayMb.toFixed(0)}; ` +
      `client ${row(({ clientMb }) => clientMb)}, grown by ${grown.clientMb.toFixed(0)}`,
    after === null
      ? '  nothing could be asked at the end'
      : `  left: ${after.pending} pending, ${after.queued} queued, ${after.callers} callers, ` +
        `${after.pool.idle + after.pool.busy + after.pool.opening} upstream connections`,
  ].join('\n');
}

/** Bytes of long bodies that arrived whole, over both. */
export const bytesOf = ({ gateway, client }: BodiesResult): number =>
  sumOf(gateway, ' MB ', ({ bytes }) => bytes) +
  (client === null ? 0 : sumOf(client, ' MB ', ({ bytes }) => bytes));
