import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Resvg } from '@resvg/resvg-js';
import { main } from '../cli.ts';
import { checkResults, type StudyResults, writeResultsAtomically } from '../results/index.ts';
import { closedCell, openCell, simulateStudy, studyClients } from '../results/synthetic.fixture.ts';
import { analyseStudy } from '../stats/index.ts';
import { charts, studyPlots } from './charts/index.ts';
import { findingsOf } from './findings.ts';
import { number, ratio } from './format.ts';
import { NARROW, reportHtml, WIDE } from './html.ts';
import { renderAnalysis, renderTerminal, reportMarkdown, writeReport } from './index.ts';
import { FONT_FILES } from './png.ts';
import { logTicks, MARGIN, spread, svg } from './svg.ts';
import { LIGHT } from './theme.ts';

const dir = mkdtempSync(join(tmpdir(), 'onehop-report-'));
after(() => rmSync(dir, { recursive: true, force: true }));

const IDS = [
  'forest',
  'rps-connections',
  'spectrum',
  'frontier',
  'heat-map',
  'cpu',
  'open-loop',
  'run-order',
  'study-latency',
  'study-rps',
];

const full = simulateStudy({ rounds: 5 });
full.settings.bootstrapResamples = 1000;
const fullAnalysis = analyseStudy(full);
const bare = () =>
  simulateStudy({ rounds: 1, clients: [{ id: 'a', cpuUs: 100 }], cells: [closedCell(100, 10)] });

function nothing(): StudyResults {
  const results = bare();
  results.measurements = [];
  return results;
}

function failing(): StudyResults {
  const results = bare();
  for (const run of results.measurements) {
    run.completed = 0;
    run.valid = 0;
    run.statusCounts = {};
    run.errorCounts = { CONNECT_REFUSED: 100 };
    run.requestsPerS = 0;
    run.quantilesMs = [];
    run.api = null;
    for (const key of Object.keys(run.latencyMs))
      (run.latencyMs as unknown as Record<string, number>)[key] = 0;
  }
  return results;
}

const drawAll = (results: StudyResults, width: number) => {
  const analysis = results === full ? fullAnalysis : analyseStudy(results);
  return [...charts, ...studyPlots].map((one) => one(analysis, { palette: LIGHT, width }));
};

test('every chart is drawn from a full study, well-formed and with figures only', () => {
  for (const width of [WIDE, NARROW]) {
    const drawn = drawAll(full, width);
    assert.deepEqual(
      drawn.map(({ id }) => id),
      IDS,
    );
    for (const chart of drawn) {
      assert.equal(chart.absent, null, chart.id);
      const text = svg(chart, { palette: LIGHT, width }, true);
      assert.doesNotMatch(text, /NaN|undefined|Infinity|var\(--/, chart.id);
      assert.match(text, /<title[^>]*>[^<]{10,}<\/title><desc[^>]*>[^<]{20,}<\/desc>/, chart.id);
      new Resvg(text, { font: { loadSystemFonts: false } }); // throws unless it is well-formed
    }
  }
});

/** As a study under a time budget is: most entries in some rounds, cells and pairs only. */
function sparse(): StudyResults {
  const missing = (round: number, entry: string, cell: string) =>
    cell === 'n2000-c50' ? entry.length % 3 === 0 && round > 1 : (entry.length + round) % 4 !== 0;
  const cells = [
    closedCell(2000, 50),
    closedCell(2000, 10),
    closedCell(1000, 50, 5),
    openCell(700),
  ];
  const clients = studyClients.filter(({ cpuUs }) => cpuUs < 250);
  return simulateStudy({ rounds: 6, missing, cells, clients });
}

test('a study with gaps is drawn without gaps turning into figures', () => {
  const results = sparse();
  for (const width of [WIDE, NARROW]) {
    for (const chart of drawAll(results, width)) {
      assert.equal(chart.absent, null, chart.id);
      assert.doesNotMatch(chart.body, /NaN|undefined|Infinity/, chart.id);
    }
  }
  const html = reportHtml(results, analyseStudy(results)).replace(/<script.*?<\/script>/gs, '');
  assert.doesNotMatch(html, /NaN|undefined/);
});

test('a linear axis is labelled with figures of its own range', () => {
  const clients = [
    { id: 'a', cpuUs: 100 },
    { id: 'b', cpuUs: 150 },
  ];
  const cells = [closedCell(2000, 10), closedCell(2000, 50)];
  const drawn = drawAll(simulateStudy({ rounds: 5, clients, cells }), WIDE);
  for (const id of ['rps-connections', 'study-rps']) {
    const { body } = drawn[IDS.indexOf(id)]!;
    assert.match(body, />0<\/text>.*>[2468]k<\/text>/, id);
    assert.doesNotMatch(body, />0\.[2468]<\/text>/, id);
  }
});

test('nothing is drawn outside the picture', () => {
  for (const width of [WIDE, NARROW]) {
    for (const chart of drawAll(full, width)) {
      for (const [, x] of chart.body.matchAll(/ x[12]?="(-?[\d.]+)"/g)) {
        assert.ok(Number(x) >= 0 && Number(x) <= width, `${chart.id} at ${width}: x=${x}`);
      }
      for (const [, y] of chart.body.matchAll(/ y[12]?="(-?[\d.]+)"/g)) {
        assert.ok(Number(y) >= 0 && Number(y) <= chart.height, `${chart.id} at ${width}: y=${y}`);
      }
    }
  }
});

test('what a study does not hold is told in place of the chart', () => {
  for (const results of [bare(), nothing(), failing()]) {
    for (const chart of drawAll(results, NARROW)) {
      if (chart.absent !== null) assert.match(chart.body, /Not drawn: /);
      assert.doesNotMatch(chart.body, /NaN|undefined|Infinity/, chart.id);
    }
    const analysis = analyseStudy(results);
    assert.match(reportHtml(results, analysis), /Undecided/);
    assert.doesNotMatch(reportMarkdown(analysis), /NaN|undefined/);
    assert.doesNotMatch(renderTerminal(results, { columns: 100, colour: false }), /NaN|undefined/);
  }
  const reasons = drawAll(bare(), WIDE).map(({ absent }) => absent);
  assert.match(reasons[IDS.indexOf('open-loop')]!, /no open-loop cell/);
  assert.match(reasons[IDS.indexOf('rps-connections')]!, /connection count/);
});

test('all files are written, and the text in the pictures is really drawn', () => {
  const out = join(dir, 'out');
  const files = writeReport(full, out, fullAnalysis);
  assert.ok(existsSync(files.html) && existsSync(files.markdown));
  assert.deepEqual(
    readdirSync(join(out, 'charts')).sort(),
    IDS.flatMap((id) => [`${id}.png`, `${id}.svg`]).sort(),
  );
  const markdown = readFileSync(files.markdown, 'utf8');
  for (const id of IDS) assert.ok(markdown.includes(`(charts/${id}.svg)`), id);
  const png = readFileSync(join(out, 'charts', 'forest.png'));
  assert.equal(png.subarray(1, 4).toString(), 'PNG');
  assert.equal(png.readUInt32BE(16), 2 * (WIDE + 2 * MARGIN), 'twice as wide as laid out');
});

test('the bundled fonts hold every sign that charts use, in each weight', () => {
  const ink = (text: string, weight: number, fontFiles: string[]) => {
    const picture = `<svg xmlns="http://www.w3.org/2000/svg" width="60" height="30"><text x="5" y="22" font-size="20" font-weight="${weight}" font-family="Inter">${text}</text></svg>`;
    const { pixels } = new Resvg(picture, { font: { fontFiles, loadSystemFonts: false } }).render();
    let drawn = 0;
    for (let i = 3; i < pixels.length; i += 4) if (pixels[i]! > 0) drawn++;
    return { drawn, shape: Buffer.from(pixels).toString('base64') };
  };
  const unknown = ink('\u{F8F0}', 400, FONT_FILES()).shape;
  for (const sign of ['a', '7', 'µ', '×', '≤', '≥', '–', '…', '’', '±', '·', '−']) {
    for (const weight of [400, 500, 600]) {
      assert.ok(ink(sign, weight, FONT_FILES()).drawn > 3, `${sign} at ${weight}`);
    }
    assert.notEqual(ink(sign, 400, FONT_FILES()).shape, unknown, `${sign} is in the font`);
  }
  assert.equal(ink('a', 400, []).drawn, 0, 'without fonts nothing is drawn: the check can fail');
});

test('the page is one file that loads nothing and carries its own data', () => {
  const html = reportHtml(full, fullAnalysis);
  assert.doesNotMatch(html, /<(?:script|img|link|iframe)[^>]+(?:src|href)="(?!data:)/);
  assert.doesNotMatch(html, /@import|url\((?!#)/);
  const links = [...html.matchAll(/https?:\/\/[^"'\s<)]+/g)].map(([link]) => link);
  assert.deepEqual([...new Set(links)], ['http://www.w3.org/2000/svg']);
  const data = /<script type="application\/json" id="data">(.*?)<\/script>/s.exec(html)![1]!;
  const read = checkResults(JSON.parse(data), 'the page');
  assert.equal(read.measurements.length, full.measurements.length);
  const ids = [...html.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id);
  assert.equal(new Set(ids).size, ids.length, 'no id stands twice');
  for (const part of ['Rig and validity', 'League table', 'Findings', 'Caveats', full.command]) {
    assert.ok(html.includes(part), part);
  }
});

test('names and notes from a file cannot become markup', () => {
  const evil = '</script><img src=x onerror=alert(1)>&"|`';
  const results = simulateStudy({
    rounds: 2,
    clients: [
      { id: evil, cpuUs: 100 },
      { id: 'b', cpuUs: 200 },
    ],
    cells: [closedCell(2000, 10), closedCell(2000, 50)],
  });
  results.command = evil;
  results.warnings = [evil];
  const analysis = analyseStudy(results);
  assert.doesNotMatch(reportHtml(results, analysis), /<img/);
  assert.equal(reportHtml(results, analysis).match(/<\/script>/g)!.length, 2);
  const rows = reportMarkdown(analysis)
    .split('\n')
    .filter((line) => line.startsWith('|'));
  const cellsOf = (row: string) => row.replaceAll('\\|', '').split('|').length;
  assert.ok(
    rows.every((row) => [6, 16].includes(cellsOf(row))),
    'no row gains a column',
  );
});

test('the terminal keeps to its width and ends with verdict and answers', () => {
  for (const columns of [60, 80, 120, 200]) {
    const text = renderAnalysis(fullAnalysis, { columns, colour: false });
    for (const line of text.split('\n')) {
      assert.ok([...line].length <= columns, `${columns}: ${line}`);
    }
    assert.match(text, /Provisionally \(5 rounds/);
    assert.match(text, /onehop@bun/);
  }
  assert.ok(renderAnalysis(fullAnalysis, { columns: 200, colour: true }).includes('\u001b['));
});

test('what the median piece does not hold is told as a finding', () => {
  const pieces = { passes: 9, passNoise: 0.1, pieceNoise: 0.02, spikeShare: 0 };
  const results = simulateStudy({ rounds: 5, cells: [closedCell(2000, 50)], pieces });
  const titles = () => findingsOf(analyseStudy(results)).map(({ title }) => title);
  assert.ok(!titles().some((title) => title.startsWith('Few pieces')), titles().join());
  for (const run of results.measurements) {
    if (run.entry === 'fetch') run.api!.cpuPerRequestUs *= 1.3;
  }
  const found = findingsOf(analyseStudy(results)).find(({ title }) =>
    title.startsWith('Few pieces'),
  );
  assert.match(found!.text, /fetch \(1\.[23]\d×\)/);
});

test('labels are moved apart in order and stay in their span', () => {
  const placed = spread([10, 11, 12, 90, 95], 10, 0, 100);
  for (let i = 1; i < placed.length; i++) assert.ok(placed[i]! - placed[i - 1]! >= 10 - 1e-9);
  assert.ok(placed[0]! >= 0 && placed.at(-1)! <= 100);
  assert.deepEqual(spread([50, 20], 10, 0, 100), [50, 20], 'what does not meet stays');
  assert.deepEqual(spread([50, 50], 10, 0, 100), [45, 55], 'both give way alike');
  assert.deepEqual(spread([1, 1, 99], 10, 0, 100), [0, 10, 99], 'and stop at the edge');
});

test('numbers are told in three digits, without exponents', () => {
  const shown = [0, 7, 0.0123, 0.456, 9.876, 62.34, 421.7, 1234.5, 99_123, 1.5e6].map(number);
  assert.deepEqual(shown, [
    '0',
    '7',
    '0.012',
    '0.46',
    '9.88',
    '62.3',
    '422',
    '1,235',
    '99,100',
    '1,500,000',
  ]);
  assert.equal(number(null), '–');
  assert.deepEqual([1.416, 14.23, 2234, 0.00071].map(ratio), [
    '1.42×',
    '14.2×',
    '2,234×',
    '0.00071×',
  ]);
  assert.deepEqual(logTicks(1, 1000), [1, 3, 10, 30, 100, 300, 1000]);
  assert.ok(logTicks(1e-3, 1e9).length <= 7);
});

async function bench(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const [write, error] = [process.stdout.write, console.error];
  let [out, err] = ['', ''];
  process.stdout.write = ((text: string) => {
    out += text;
    return true;
  }) as typeof process.stdout.write;
  console.error = (text: string) => {
    err += text;
  };
  try {
    const code = await main(args);
    return { code, out, err };
  } finally {
    process.stdout.write = write;
    console.error = error;
    // Bun keeps an exit code that is set back to undefined, and would end this file with it.
    process.exitCode = 0;
  }
}

test('the command draws a file again and refuses a bad one in one sentence', async () => {
  const path = join(dir, 'study.json');
  writeResultsAtomically(path, simulateStudy({ rounds: 5, cells: [closedCell(2000, 50)] }));
  const good = await bench('report', path, '--out', join(dir, 'again'));
  assert.equal(good.code, 0);
  assert.match(good.out, /Report: .*again\/report\.html/);
  assert.ok(existsSync(join(dir, 'again', 'report.html')));
  writeFileSync(join(dir, 'newer.json'), '{"kind":"onehop-study","schemaVersion":9}');
  const newer = await bench('report', join(dir, 'newer.json'));
  assert.equal(newer.code, 1);
  assert.match(newer.err, /^onehop bench: .*newer\.json has schema version 9.*update onehop$/);
  const unwritable = await bench('report', path, '--quiet', '--out', join(path, 'below'));
  assert.match(unwritable.err, /cannot make the directory .*below/);
  const gated = await bench('report', path, '--quiet', '--no-write', '--fail-on-gate');
  assert.equal(gated.code, 3, 'superagent fails its audit');
});
