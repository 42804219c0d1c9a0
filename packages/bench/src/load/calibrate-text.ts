/** A calibration as the terminal shows it. */
import picocolors from 'picocolors';
import {
  type Bar,
  type Calibration,
  type Comparison,
  calibrationParts,
  type Ratio,
  type Scenario,
  type ScenarioResult,
  type StallResult,
} from './calibrate-types.ts';

const scenarioText: Record<Scenario, string> = {
  spread: 'answers one by one',
  'in-step': 'answers all at once (see also the two references against each other)',
  'flat-out': 'generator and upstream as fast as they can',
};

const ratioText = ({ ratio, low, high }: Ratio): string =>
  `${ratio.toFixed(3)} (${low.toFixed(2)}-${high.toFixed(2)})`;

const row = (cells: readonly string[]): string =>
  cells.map((cell, at) => (at === 0 ? cell.padEnd(26) : cell.padStart(24))).join('');

function comparisonRows(name: string, { requestsPerS, p50, p99 }: Comparison): string[] {
  return [
    row([name, ratioText(requestsPerS), ratioText(p50), ratioText(p99)]),
    row([
      '  one / other',
      `${requestsPerS.ours.toFixed(0)} / ${requestsPerS.theirs.toFixed(0)}`,
      `${p50.ours.toFixed(3)} / ${p50.theirs.toFixed(3)} ms`,
      `${p99.ours.toFixed(3)} / ${p99.theirs.toFixed(3)} ms`,
    ]),
  ];
}

function scenarioLines(scenario: Scenario, result: ScenarioResult): string[] {
  const { comparisons, reference, upstreamMs } = result;
  const lines = [`${scenario}: ${scenarioText[scenario]}`, `  upstream: ${result.upstream}`];
  const first = comparisons[0];
  if (first === undefined) return [...lines, '  nothing to compare with', ''];
  const sure = (first.p99.confidence * 100).toFixed(0);
  lines.push(
    `  closed loop, 50 connections; median of ${result.rounds} rounds and its ${sure} % interval`,
    row(['', 'requests/sec', 'p50', 'p99']),
  );
  for (const comparison of comparisons) {
    lines.push(...comparisonRows(`ours / ${comparison.theirs}`, comparison));
  }
  if (reference !== null) {
    lines.push(...comparisonRows(`${reference.ours} / ${reference.theirs}`, reference));
  }
  if (upstreamMs !== null) {
    const { p50, p99 } = upstreamMs;
    lines.push(row(['upstream alone', '', `${p50.toFixed(3)} ms`, `${p99.toFixed(3)} ms`]));
  }
  if (!result.pinned) lines.push('  generator and upstream shared their cores');
  return [...lines, ''];
}

function stallLines(stall: StallResult): string[] {
  const lines = [
    `stall: open loop, ${stall.ratePerS} requests/sec for ${stall.durationMs / 1_000} s, upstream stopped for ${stall.stallMs.toFixed(0)} ms`,
    `  upstream: ${stall.upstream}`,
    row(['', 'arithmetic', 'latency', 'service time']),
  ];
  for (const { percent, expectedMs, foundMs, serviceMs } of stall.quantiles) {
    const service = serviceMs === null ? '-' : `${serviceMs.toFixed(1)} ms`;
    lines.push(
      row([`p${percent}`, `${expectedMs.toFixed(1)} ms`, `${foundMs.toFixed(1)} ms`, service]),
    );
  }
  return [...lines, ''];
}

function barLine({ part, text, found, interval, passed }: Bar): string {
  const mark = passed ? picocolors.green('passed') : picocolors.red('missed');
  const range =
    interval === null ? '' : ` (${interval.low.toFixed(3)}-${interval.high.toFixed(3)})`;
  return `  ${mark} ${part}: ${text}: ${found.toFixed(3)}${range}`;
}

/** Every comparison and every bar as text. */
export function calibrationText(calibration: Calibration): string {
  const { parts, bars } = calibration;
  const lines = [`${calibration.rig.generator}, commit ${calibration.rig.commit ?? 'unknown'}`, ''];
  for (const part of calibrationParts) {
    if (part === 'stall') {
      if (parts.stall !== undefined) lines.push(...stallLines(parts.stall));
    } else if (parts[part] !== undefined) lines.push(...scenarioLines(part, parts[part]));
  }
  const missed = bars.filter(({ passed }) => !passed).length;
  lines.push(`${bars.length - missed} of ${bars.length} bars passed`, ...bars.map(barLine));
  for (const text of calibration.leftOut) lines.push(`  left out: ${text}`);
  return `${lines.join('\n')}\n`;
}
