/**
 * Colours, dashes and markers. Hues are from Okabe and Ito's set, which survives the common forms of
 * colour blindness, darkened or lightened until they read on their ground; colour never stands alone,
 * a dash, a marker or a label says the same.
 */
import type { Entry } from '../results/index.ts';

export interface Palette {
  ground: string;
  panel: string;
  text: string;
  soft: string;
  line: string;
  faint: string;
  node: string;
  bun: string;
  python: string;
  control: string;
  band: string;
  good: string;
  bad: string;
  /** From equal to much worse in the heat maps; text on them is `text`. */
  heat: readonly string[];
  series: readonly string[];
}

export const LIGHT: Palette = {
  ground: '#ffffff',
  panel: '#f6f7f9',
  text: '#15181d',
  soft: '#545b66',
  line: '#d5d9e0',
  faint: '#b9c0ca',
  node: '#0063a3',
  bun: '#b84a00',
  python: '#00795a',
  control: '#6b7280',
  band: '#e3e7ed',
  good: '#00795a',
  bad: '#b3261e',
  heat: ['#dff0e6', '#eff3dc', '#fbefcf', '#fbdfba', '#f6cba6', '#eeb29a', '#e19a90'],
  series: ['#0063a3', '#b84a00', '#00795a', '#9a3f7c', '#7a6200', '#1577a6', '#4b4f58', '#c0392b'],
};

export const DARK: Palette = {
  ground: '#111418',
  panel: '#191d23',
  text: '#e9ecf1',
  soft: '#a5adba',
  line: '#333a45',
  faint: '#4a5361',
  node: '#62b5ee',
  bun: '#f09452',
  python: '#43c59e',
  control: '#9aa3b0',
  band: '#262c35',
  good: '#43c59e',
  bad: '#ff8a80',
  heat: ['#14382c', '#27351f', '#3a361b', '#4a351a', '#59311c', '#672b21', '#742428'],
  series: ['#62b5ee', '#f09452', '#43c59e', '#dd8fc3', '#d6bd45', '#8fd3f5', '#b4bac4', '#ff8a80'],
};

/** The same names as CSS variables, for charts inside the page. */
export const VARIABLES: Palette = {
  ...(Object.fromEntries(
    Object.keys(LIGHT).map((name) => [name, `var(--${name})`]),
  ) as unknown as Palette),
  heat: LIGHT.heat.map((_, index) => `var(--heat${index})`),
  series: LIGHT.series.map((_, index) => `var(--series${index})`),
};

/** The declarations that {@link VARIABLES} refers to. */
export function declarations(palette: Palette): string {
  const lists = (name: 'heat' | 'series') =>
    palette[name].map((value, index) => `--${name}${index}:${value}`);
  const plain = Object.entries(palette)
    .filter(([, value]) => typeof value === 'string')
    .map(([name, value]) => `--${name}:${value}`);
  return [...plain, ...lists('heat'), ...lists('series')].join(';');
}

export type Marker = 'disc' | 'ring' | 'square' | 'box';

/** Colour tells the runtime, the dash and an open marker a client per request, squares HTTP/2. */
export function styleOf(
  entry: Entry,
  palette: Palette,
): { colour: string; dash: string; marker: Marker } {
  const control = entry.role === 'direct' || entry.role === 'null-forwarder';
  const perRequest = entry.reuse === 'per-request';
  const square = entry.protocol === 'h2c';
  return {
    colour: control ? palette.control : palette[entry.runtime],
    dash: control ? '2 3' : perRequest ? '5 3' : '',
    marker: square ? (perRequest ? 'box' : 'square') : perRequest ? 'ring' : 'disc',
  };
}

export const DASHES = ['', '6 3', '2 3', '8 3 2 3'] as const;
