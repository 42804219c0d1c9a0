/** The page in a real browser: offline, on a desktop and on a phone, light and dark. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import { writeFileAtomically } from '../results/index.ts';
import { simulateStudy } from '../results/synthetic.fixture.ts';
import { analyseStudy } from '../stats/index.ts';
import { reportHtml } from './html.ts';

const executablePath = [
  process.env['CHROMIUM_PATH'] ?? '',
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
].find((path) => path !== '' && existsSync(path));
// Playwright's pipe to the browser hangs under Bun; the page under test is the same file.
const skip =
  executablePath === undefined
    ? 'no Chromium was found (CHROMIUM_PATH names another)'
    : process.versions['bun'] !== undefined && 'Playwright needs Node';

let browser: Browser;
let url = '';
const dir = mkdtempSync(join(tmpdir(), 'onehop-browser-'));

before(async () => {
  if (skip) return;
  const results = simulateStudy({ rounds: 5 });
  results.settings.bootstrapResamples = 500;
  const path = join(dir, 'report.html');
  writeFileAtomically(path, reportHtml(results, analyseStudy(results)));
  url = pathToFileURL(path).href;
  const { chromium } = await import('playwright-core');
  browser = await chromium.launch({
    executablePath: executablePath!,
    args: ['--no-sandbox', '--disable-gpu'],
  });
});

after(async () => {
  if (!skip) await browser.close();
  rmSync(dir, { recursive: true, force: true });
});

interface Opened {
  page: Page;
  requests: string[];
  problems: string[];
}

async function open(width: number, colorScheme: 'light' | 'dark', script = true): Promise<Opened> {
  const context = await browser.newContext({
    viewport: { width, height: 800 },
    colorScheme,
    offline: true,
    javaScriptEnabled: script,
  });
  const page = await context.newPage();
  const [requests, problems]: [string[], string[]] = [[], []];
  page.on('request', (request) => requests.push(request.url()));
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') problems.push(message.text());
  });
  page.on('pageerror', (error) => problems.push(error.message));
  await page.goto(url);
  return { page, requests, problems };
}

test('it opens offline, asks for nothing else and logs no error', { skip }, async () => {
  const { page, requests, problems } = await open(1280, 'light');
  assert.deepEqual(requests, [url]);
  assert.deepEqual(problems, []);
  await page.context().close();
});

for (const width of [360, 390, 768, 1280]) {
  test(`at ${width} px nothing scrolls sideways but the tables`, { skip }, async () => {
    const { page } = await open(width, 'light');
    const scroll = await page.evaluate('document.documentElement.scrollWidth');
    assert.ok((scroll as number) <= width, `${scroll} px wide`);
    await page.context().close();
  });
}

for (const width of [360, 390]) {
  test(`at ${width} px every column of the gates shows without scrolling`, { skip }, async () => {
    const { page } = await open(width, 'light');
    const [shown, needed] = (await page.evaluate(
      '(() => { const box = document.querySelector("#gates").parentElement; return [box.clientWidth, box.scrollWidth]; })()',
    )) as [number, number];
    assert.ok(needed <= shown, `${needed} px in a box of ${shown}`);
    await page.context().close();
  });
}

for (const [width, kind] of [
  [390, 'narrow'],
  [1280, 'wide'],
] as const) {
  test(`all charts show at ${width} px and their letters can be read`, { skip }, async () => {
    const { page } = await open(width, 'dark', false);
    const charts = await page.locator(`figure .${kind} svg`).evaluateAll((all) =>
      all.map((one) => {
        const svg = one as unknown as {
          getBoundingClientRect(): { width: number; height: number };
          viewBox: { baseVal: { width: number } };
          querySelectorAll(name: string): Iterable<{ getAttribute(name: string): string | null }>;
        };
        const { width: shown, height } = svg.getBoundingClientRect();
        const sizes = [...svg.querySelectorAll('text')].map((text) =>
          Number(text.getAttribute('font-size')),
        );
        return {
          shown,
          height,
          smallest: (Math.min(...sizes) * shown) / svg.viewBox.baseVal.width,
        };
      }),
    );
    assert.equal(charts.length, 10);
    for (const { shown, height, smallest } of charts) {
      assert.ok(shown > 300 && height > 150, `${shown} x ${height}`);
      assert.ok(smallest >= 7.5, `letters of ${smallest} px`);
    }
    await page.context().close();
  });
}

/** In the page: every text's contrast with the nearest opaque ground behind it (WCAG 2.2). */
const CONTRAST = `(() => {
  const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const channel = (v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const groundOf = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const ground = parse(getComputedStyle(at).backgroundColor);
      if (ground.length === 3 || ground[3] > 0.99) return ground;
    }
    return [255, 255, 255];
  };
  const poor = [];
  let seen = 0;
  for (const node of document.querySelectorAll('body *')) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim() !== '');
    if (!own || node.closest('title,desc,script,style') || !node.getClientRects().length) continue;
    const style = getComputedStyle(node);
    const svg = node.closest('svg') !== null;
    let ground = groundOf(node);
    if (svg) {
      // A label in a box of the heat maps stands on the box drawn before it.
      const box = node.previousElementSibling;
      if (box?.tagName === 'rect' && node.parentElement.tagName === 'g' && !box.getAttribute('fill').startsWith('url')) {
        ground = parse(getComputedStyle(box).fill);
      }
    }
    const [a, b] = [luminance(parse(svg ? style.fill : style.color)), luminance(ground)];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    seen += 1;
    if (contrast < 4.5) poor.push(node.textContent.slice(0, 40) + ' ' + contrast.toFixed(2));
  }
  return { seen, poor: poor.slice(0, 10) };
})()`;

for (const scheme of ['light', 'dark'] as const) {
  test(`all text has a contrast of at least 4.5 in ${scheme}`, { skip }, async () => {
    const { page } = await open(1280, scheme);
    const { seen, poor } = (await page.evaluate(CONTRAST)) as { seen: number; poor: string[] };
    assert.ok(seen > 500, `${seen} texts were judged`);
    assert.deepEqual(poor, []);
    await page.context().close();
  });
}

test('printed from a dark screen it is black on white and no column is cut off', {
  skip,
}, async () => {
  const { page } = await open(720, 'dark');
  await page.emulateMedia({ media: 'print', colorScheme: 'dark' });
  const [width, ground] = (await page.evaluate(
    '[document.documentElement.scrollWidth, getComputedStyle(document.body).backgroundColor]',
  )) as [number, string];
  assert.ok(width <= 720, `${width} px wide`);
  assert.equal(ground, 'rgb(255, 255, 255)');
  await page.context().close();
});

test('a click on a head sorts the league table, figures as figures', { skip }, async () => {
  const { page } = await open(1280, 'light');
  const column = () =>
    page
      .locator('#league tbody tr td:nth-child(6)')
      .evaluateAll((cells) =>
        cells.map((one) => Number((one as unknown as { dataset: { v: string } }).dataset.v)),
      );
  await page.locator('#league th:nth-child(6) button').click();
  const rising = await column();
  assert.deepEqual(
    rising,
    [...rising].sort((a, b) => a - b),
  );
  await page.locator('#league th:nth-child(6) button').click();
  assert.deepEqual(
    await column(),
    [...rising].sort((a, b) => b - a),
  );
  await page.context().close();
});

test('labels of one chart do not lie on each other', { skip }, async () => {
  for (const [width, kind] of [
    [390, 'narrow'],
    [1280, 'wide'],
  ] as const) {
    const { page } = await open(width, 'light');
    const overlaps = (await page.evaluate(`(() => {
      const found = [];
      for (const svg of document.querySelectorAll('figure .${kind} svg')) {
        const boxes = [...svg.querySelectorAll('text')].map((node) => [node.textContent, node.getBoundingClientRect()]);
        for (let i = 0; i < boxes.length; i++) for (let j = 0; j < i; j++) {
          const [a, b] = [boxes[i][1], boxes[j][1]];
          const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
          const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
          if (wide > 1.5 && high > 4.5) found.push(svg.closest('figure').id + ': ' + boxes[i][0] + ' / ' + boxes[j][0]);
        }
      }
      return found.slice(0, 12);
    })()`)) as string[];
    assert.deepEqual(overlaps, [], `${width} px`);
    await page.context().close();
  }
});
