/** Plots as SVG: one shape, a row a figure with a dot a side. Written by hand, for they are of one kind and need no browser. */
import type { Figure, Table } from './figures.ts';

const WIDTH = 860;
const LEFT = 330;
const RIGHT = 90;
const ROW = 24;
const TOP = 66;
const TICKS = 40;
/** Told apart by people who see few colours, on light and on dark ground. */
const COLOURS = ['#2f81c7', '#d9670f', '#1a9e77'];
const STYLE = `text { font: 12px system-ui, sans-serif; fill: #24292f } .title { font-size: 15px; font-weight: 600 }
  .quiet { fill: #57606a } .grid { stroke: #d0d7de } .target { stroke: #24292f; stroke-dasharray: 3 2 }
  @media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .quiet { fill: #9da7b1 } .grid { stroke: #3d444d } .target { stroke: #e6edf3 } }`;

/** A value of a row, with how far it reaches. */
interface Mark {
  readonly series: string;
  readonly value: number;
  readonly from: number;
  readonly to: number;
}

interface Row {
  readonly label: string;
  readonly marks: readonly Mark[];
  readonly target?: number;
}

/** The sides of each figure: a dot at the median, a line to the p99. */
export function plotOf({ title, figures }: Table): string {
  const unit = figures[0]?.sides[0]?.unit ?? '';
  const hasTail = figures.some(({ sides }) => sides.some(({ p99 }) => p99 !== undefined));
  const measured = figures.filter(({ sides }) => sides.length > 0);
  const rows = measured.map(({ label, sides }): Row => ({
    label,
    marks: sides.map(({ name, p50, p99 = p50 }) => ({ series: name, value: p50, from: p50, to: p99 })),
  }));
  return svgOf(title, `${unit}${hasTail ? ': median, and a line to the p99' : ''}`, rows);
}

/** The ratio of each figure: a dot at the median, a line over the middle half, and its target. */
export function ratioPlot(title: string, figures: readonly Figure[]): string {
  const rows = figures.map(({ label, ratio, target }): Row => ({
    label,
    marks: [{ series: 'measured', value: ratio!.median, from: ratio!.from, to: ratio!.to }],
    target: 'atLeast' in target! ? target.atLeast : target!.atMost,
  }));
  return svgOf(title, 'ratio: median and middle half; dashed: the target', rows);
}

function svgOf(title: string, axis: string, rows: readonly Row[]): string {
  const values = rows.flatMap(({ marks, target }) => [
    ...marks.flatMap(({ from, to }) => [from, to]),
    ...(target === undefined ? [] : [target]),
  ]);
  const ticks = ticksAround(values.filter((value) => value > 0));
  const [least, most] = [ticks[0]!, ticks.at(-1)!];
  const x = (value: number) =>
    LEFT + (Math.log(Math.max(value, least) / least) / Math.log(most / least)) * (WIDTH - LEFT - RIGHT);
  const bottom = TOP + rows.length * ROW;
  const series = [...new Set(rows.flatMap(({ marks }) => marks.map((mark) => mark.series)))];
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${bottom + TICKS}" role="img">`,
    `<title>${escaped(title)}</title><style>${STYLE}</style>`,
    text(12, 22, title, 'class="title"'),
    text(12, 42, axis, 'class="quiet"'),
    ...(series.length < 2
      ? []
      : series.map((name, at) => text(LEFT + at * 130, 42, `● ${name}`, `style="fill: ${COLOURS[at]}"`))),
    ...ticks.flatMap((tick) => [
      `<line class="grid" x1="${at(x(tick))}" x2="${at(x(tick))}" y1="${TOP - 10}" y2="${bottom}"/>`,
      text(x(tick), bottom + 18, short(tick), 'class="quiet" text-anchor="middle"'),
    ]),
    ...rows.flatMap((row, index) => rowOf(row, TOP + index * ROW, series, x)),
    '</svg>',
    '',
  ].join('\n');
}

function rowOf(
  { label, marks, target }: Row,
  top: number,
  series: readonly string[],
  x: (value: number) => number,
) {
  const y = (mark: number) => top + (ROW * (mark + 1)) / (marks.length + 1);
  const rightmost = Math.max(...marks.map(({ to }) => x(to)));
  return [
    text(LEFT - 12, top + ROW / 2 + 4, label, 'text-anchor="end"'),
    ...(target === undefined
      ? []
      : [
          `<line class="target" x1="${at(x(target))}" x2="${at(x(target))}" y1="${top + 2}" y2="${top + ROW - 2}"/>`,
        ]),
    ...marks.flatMap(({ series: name, value, from, to }, index) => {
      const colour = COLOURS[series.indexOf(name)]!;
      return [
        `<line x1="${at(x(from))}" x2="${at(x(to))}" y1="${y(index)}" y2="${y(index)}" stroke="${colour}" stroke-width="2"/>`,
        `<circle cx="${at(x(value))}" cy="${y(index)}" r="4" fill="${colour}"/>`,
      ];
    }),
    text(rightmost + 10, top + ROW / 2 + 4, marks.map(({ value }) => short(value)).join(' · ')),
  ];
}

/** Of 1, 2 and 5 times the powers of ten, those that enclose the values. */
function ticksAround(values: readonly number[]): number[] {
  const [least, most] = values.length === 0 ? [1, 1] : [Math.min(...values), Math.max(...values)];
  const powers = Array.from({ length: 22 }, (_, at) => 10 ** (at - 9));
  const all = powers.flatMap((power) => [power, 2 * power, 5 * power]);
  const from = all.findLastIndex((tick) => tick <= least);
  const to = all.findIndex((tick) => tick > most);
  return all.slice(from, to + 1);
}

function text(x: number, y: number, content: string, attributes = ''): string {
  return `<text x="${at(x)}" y="${at(y)}" ${attributes}>${escaped(content)}</text>`;
}

function at(place: number): string {
  return place.toFixed(1);
}

function short(value: number): string {
  return Number(value.toPrecision(3)).toLocaleString('en', { maximumSignificantDigits: 3 });
}

function escaped(content: string): string {
  return content.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}
