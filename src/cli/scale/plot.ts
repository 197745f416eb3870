import { escapeXml } from '../../base/xml.js';
import type { SimulationSample } from '../../domain/simulation.js';
import type { Outcome } from './variants.js';

/** Sizes in the units of the picture. */
const WIDTH = 900;
const PANEL_HEIGHT = 200;
const LEFT = 60;
const RIGHT = 20;
const TOP = 36;
const LEGEND_LINE = 18;
const GAP = 60;
const COLOURS = ['#1b6ac9', '#d1495b', '#2e8b57', '#8a5cc7', '#b8860b', '#5f6b7a'];

interface Panel {
  readonly title: string;
  readonly read: (sample: SimulationSample) => number;
}

const PANELS: readonly Panel[] = [
  { title: 'requests that wait', read: ({ queued }) => queued },
  { title: 'workers that are awake', read: ({ workers, frozen }) => workers - frozen },
];

/** Queue and workers over time as an SVG document, a line for each variant. */
export function formatPlot(title: string, outcomes: readonly Outcome[]): string {
  const endMs = Math.max(1, ...outcomes.map(({ simulation }) => simulation.samples.at(-1)?.at ?? 0));
  const top = TOP + outcomes.length * LEGEND_LINE + LEGEND_LINE;
  const height = top + PANELS.length * (PANEL_HEIGHT + GAP);
  const body = PANELS.flatMap((panel, index) => drawPanel(panel, outcomes, { endMs, y: top + index * (PANEL_HEIGHT + GAP) }));
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" font-family="sans-serif" font-size="12" fill="#333">`,
    `<title>${escapeXml(title)}</title>`,
    '<rect width="100%" height="100%" fill="#fff"/>',
    text({ x: LEFT, y: 20, size: 15 }, title),
    ...drawLegend(outcomes),
    ...body,
    '</svg>\n',
  ].join('\n');
}

function drawLegend(outcomes: readonly Outcome[]): string[] {
  return outcomes.flatMap(({ name }, index) => {
    const y = TOP + index * LEGEND_LINE;
    return [`<rect x="${LEFT}" y="${y - 6}" width="12" height="4" fill="${colourOf(index)}"/>`, text({ x: LEFT + 18, y }, name)];
  });
}

interface Frame {
  readonly endMs: number;
  /** Upper edge. */
  readonly y: number;
}

function drawPanel({ title, read }: Panel, outcomes: readonly Outcome[], { endMs, y }: Frame): string[] {
  const values = outcomes.flatMap(({ simulation }) => simulation.samples.map(read));
  const top = niceAbove(values.reduce((most, value) => Math.max(most, value), 1));
  const toX = (at: number) => LEFT + (Math.min(at, endMs) / endMs) * (WIDTH - LEFT - RIGHT);
  const toY = (value: number) => y + PANEL_HEIGHT - (value / top) * PANEL_HEIGHT;
  const grid = [0, top / 2, top].flatMap((value) => [
    `<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${round(toY(value))}" y2="${round(toY(value))}" stroke="#ddd"/>`,
    text({ x: LEFT - 8, y: toY(value) + 4, anchor: 'end' }, String(value)),
  ]);
  const moments = [0, 0.25, 0.5, 0.75, 1].map((share) =>
    text({ x: toX(endMs * share), y: y + PANEL_HEIGHT + 18, anchor: share === 1 ? 'end' : 'middle' }, formatMoment(endMs * share)),
  );
  const lines = outcomes.map(({ simulation }, index) => {
    const steps = thin(simulation.samples.map((sample) => ({ x: toX(sample.at), value: read(sample) })));
    const path = steps
      .map(({ x, value }, step) => `${step === 0 ? 'M' : 'H'}${round(x)}${step === 0 ? ' ' : 'V'}${round(toY(value))}`)
      .join('');
    return `<path d="${path}H${round(toX(endMs))}" fill="none" stroke="${colourOf(index)}" stroke-width="1.5" stroke-opacity="0.8"/>`;
  });
  return [text({ x: LEFT, y: y - 8 }, title), ...grid, ...moments, ...lines];
}

interface Step {
  readonly x: number;
  readonly value: number;
}

/** Steps closer than half a unit are drawn as one; the highest and the last of them are kept, so that no peak is lost. */
function thin(steps: readonly Step[]): readonly Step[] {
  const kept: Step[] = [];
  let group: Step[] = [];
  const close = () => {
    const highest = group.reduce<Step | undefined>((most, step) => (most && most.value >= step.value ? most : step), undefined);
    const last = group.at(-1);
    if (highest) kept.push(highest);
    if (last && last !== highest) kept.push(last);
    group = [];
  };
  for (const step of steps) {
    if (group[0] && step.x - group[0].x > 0.5) close();
    group.push(step);
  }
  close();
  return kept;
}

/** An even number from `value` on whose half is a whole number too. */
function niceAbove(value: number): number {
  const unit = 10 ** Math.floor(Math.log10(Math.max(2, value)));
  const found = [1, 2, 4, 6, 8, 10].map((factor) => factor * unit).find((nice) => nice >= value) ?? 10 * unit;
  return Math.max(2, found);
}

function formatMoment(ms: number): string {
  const seconds = ms / 1_000;
  if (seconds < 120) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  return seconds < 7_200 ? `${(seconds / 60).toFixed(1)} min` : `${(seconds / 3_600).toFixed(1)} h`;
}

interface Place {
  readonly x: number;
  readonly y: number;
  readonly size?: number;
  readonly anchor?: 'middle' | 'end';
}

function text({ x, y, size, anchor }: Place, content: string): string {
  const more = `${size === undefined ? '' : ` font-size="${size}"`}${anchor === undefined ? '' : ` text-anchor="${anchor}"`}`;
  return `<text x="${round(x)}" y="${round(y)}"${more}>${escapeXml(content)}</text>`;
}

function colourOf(index: number): string {
  return COLOURS[index % COLOURS.length] ?? '#333';
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
