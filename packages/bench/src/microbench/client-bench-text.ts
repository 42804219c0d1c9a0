/** What `bench:client` prints. */
import { styleText } from 'node:util';
import type { ClientBenchResult, Row, Verdict } from './client-bench-types.ts';

const paint = (color: 'green' | 'red' | 'bold' | 'dim', text: string): string =>
  process.stdout.isTTY ? styleText(color, text) : text;

function sizeText(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  return bytes < 1_048_576 ? `${bytes / 1024} KB` : `${bytes / 1_048_576} MB`;
}

function rowText(row: Row, baseline: string): string {
  const ratio =
    row.cpuRatio === null || row.contender === baseline
      ? ''
      : `${row.cpuRatio.median.toFixed(2)} [${row.cpuRatio.low.toFixed(2)}-${row.cpuRatio.high.toFixed(2)}]`;
  const busy = row.upstreamCpu === null ? '-' : `${(row.upstreamCpu * 100).toFixed(0)} %`;
  return (
    `  ${row.contender.padEnd(22)}${row.cpuUsPerRequest.median.toFixed(1).padStart(9)}` +
    `${row.requestsPerS.median.toFixed(0).padStart(9)}  ${ratio.padEnd(18)}${busy.padStart(6)}` +
    (row.nearCeiling ? paint('dim', '  near the ceiling') : '')
  );
}

/** One cell: a line per contender. */
function cellText(rows: readonly Row[], baseline: string): string {
  const first = rows[0]!;
  const title = `${sizeText(first.sizeBytes)}, c=${first.concurrency}`;
  const head = `  ${'us CPU/req'.padStart(31)}${'req/s'.padStart(9)}  CPU of ${baseline}  upstream`;
  return [paint('bold', title), head, ...rows.map((row) => rowText(row, baseline))].join('\n');
}

/** What was missed beside what anybody has to pay. */
function floorText({ sizeBytes, concurrency, ratio, floor }: Verdict): string {
  const seen =
    floor === null
      ? 'did not run'
      : `${floor.median.toFixed(2)} [${floor.low.toFixed(2)}-${floor.high.toFixed(2)}]`;
  const cell = `${sizeText(sizeBytes)}, c=${concurrency}`;
  return `  ${cell.padEnd(14)} ${ratio.median.toFixed(2)}; bare sockets that hand the body over: ${seen}`;
}

/** One bar as a table: sizes down, concurrency across. */
function barText(verdicts: readonly Verdict[]): string {
  const { id, contender, against, most } = verdicts[0]!;
  const columns = [...new Set(verdicts.map((each) => each.concurrency))];
  const sizes = [...new Set(verdicts.map((each) => each.sizeBytes))];
  const missed = verdicts.filter((each) => !each.met).length;
  const lines = [
    paint('bold', `${id}: CPU of ${contender}, at most ${most} of ${against}: `) +
      (missed === 0
        ? paint('green', 'met in every cell')
        : paint('red', `missed in ${missed} of ${verdicts.length} cells`)),
    `  ${''.padStart(8)}${columns.map((c) => `c=${c}`.padStart(26)).join('')}`,
  ];
  for (const size of sizes) {
    const cells = columns.map((c) => {
      const found = verdicts.find((each) => each.sizeBytes === size && each.concurrency === c);
      if (found === undefined) return '-'.padStart(26);
      const { median, low, high } = found.ratio;
      const text = `${median.toFixed(2)} [${low.toFixed(2)}-${high.toFixed(2)}] `.padStart(20);
      return text + (found.met ? paint('green', '   met') : paint('red', 'MISSED'));
    });
    lines.push(`  ${sizeText(size).padStart(8)}${cells.join('')}`);
  }
  for (const verdict of verdicts) if (!verdict.met) lines.push(floorText(verdict));
  return lines.join('\n');
}

export function resultText(result: ClientBenchResult): string {
  const { rows, bars, baseline, rounds } = result;
  const blocks = [
    `${result.runtime} ${result.version}, upstream on ${result.upstream}, ${rounds} rounds of ` +
      `${result.windowMs} ms per cell in fresh processes` +
      `${result.heldMb > 0 ? ` that hold ${result.heldMb} MB of objects` : ''}; ` +
      'medians, of ratios per round [low-high]',
  ];
  const isFirst = (row: Row, i: number): boolean =>
    i === 0 ||
    rows[i - 1]!.sizeBytes !== row.sizeBytes ||
    rows[i - 1]!.concurrency !== row.concurrency;
  rows.forEach((row, i) => {
    if (!isFirst(row, i)) return;
    const cell = rows.filter(
      (each) => each.sizeBytes === row.sizeBytes && each.concurrency === row.concurrency,
    );
    blocks.push(cellText(cell, baseline));
  });
  for (const contender of new Set(bars.map((bar) => bar.contender))) {
    blocks.push(barText(bars.filter((bar) => bar.contender === contender)));
  }
  if (rows.some((row) => row.nearCeiling)) {
    blocks.push(
      'near the ceiling: within 10 % of the rate of bare sockets, or the upstream was busy for 90 % ' +
        'of the time; the rate then says more about upstream and machine than about the client',
    );
  }
  if (rounds < 5) blocks.push('fewer than 5 rounds: a look, not a result');
  return blocks.join('\n\n');
}
