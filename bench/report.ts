import { execFile } from 'node:child_process';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, cpus, totalmem } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';

import { type Figure, isMet, measuredOf, type Side, type Table, type Target } from './figures.ts';
import { PARTS } from './parts.ts';
import { plotOf, ratioPlot } from './plot.ts';
import type { Stage } from './stage.ts';
import type { Ratio } from './statistics.ts';

const DOCS = path.resolve(import.meta.dirname, '../docs');
const PLOTS = 'benchmarks';
const FACTS = path.join(DOCS, 'benchmarks.json');
const INTRODUCTION = `# Benchmarks

The sides of a ratio are measured in turns within one run, so a busy machine slows all of them. Absolute figures say something of
the machine only. A ratio is the median of the ratios of the pairs, with the middle half in brackets; p50 and p99 are of single
requests. Server, clients and database share the machine; PostgreSQL is the embedded one with its usual settings.

\`npm run bench\` makes a log of 10,000,000 records and takes hours; with \`-- --quick\` it is 100,000 and minutes. \`--records N\` says
how many, \`--data FOLDER\` keeps the log for the next run, and \`--only PART,...\` measures some of the parts (${Object.keys(PARTS).join(', ')}):
the others keep the figures of the run that is named with them.`;

/** The circumstances of a run. */
interface Run {
  /** When it began. */
  readonly at: string;
  readonly commit: string;
  readonly command: string;
  readonly machine: string;
}

/** What is kept of a part: its figures, and the run they are of. */
export interface Measured extends Run {
  /** Of the seeded log; 0 where it was not used. */
  readonly records: number;
  readonly tenants: number;
  readonly tables: readonly Table[];
}

/** The circumstances of this run. */
export async function runFacts({ postgresVersion }: Stage): Promise<Run> {
  const memory = `${Math.round(totalmem() / 2 ** 30)} GiB`;
  const git = async (...args: string[]) =>
    (await promisify(execFile)('git', args, { cwd: DOCS })).stdout.trim();
  const changed = await git('status', '--porcelain', '--untracked-files=no', '--', '..', ':!.');
  return {
    at: new Date().toISOString(),
    commit: `${await git('rev-parse', '--short', 'HEAD')}${changed === '' ? '' : ', changed'}`,
    command: `npm run bench -- ${process.argv.slice(2).join(' ')}`
      .replace(/--data[ =]\S+/, '--data FOLDER')
      .replace(/ -- $/, ''),
    machine: `${availableParallelism()} processors (${cpus()[0]?.model ?? 'unknown'}), ${memory}, Node ${process.version}, PostgreSQL ${postgresVersion}`,
  };
}

/** Writes what was measured, and what is there already of other parts, for people and for programs. */
export async function writeReport(measured: Readonly<Record<string, Measured>>): Promise<void> {
  const text = await readFile(FACTS, 'utf8').catch(() => '{"parts":{}}');
  const kept = (JSON.parse(text) as { parts?: Record<string, Measured> }).parts ?? {};
  const all = { ...kept, ...measured };
  const parts = Object.fromEntries(
    Object.keys(PARTS).flatMap((name) => (all[name] ? [[name, all[name]]] : [])),
  );
  const plots = plotsOf(parts);
  await mkdir(path.join(DOCS, PLOTS), { recursive: true });
  for (const file of await readdir(path.join(DOCS, PLOTS)))
    if (!plots.has(file)) await rm(path.join(DOCS, PLOTS, file));
  for (const [file, svg] of plots) await writeFile(path.join(DOCS, PLOTS, file), svg);
  await writeFile(FACTS, `${JSON.stringify({ parts }, null, 2)}\n`);
  await writeFile(path.join(DOCS, 'benchmarks.md'), pageOf(parts));
}

type Parts = Readonly<Record<string, Measured>>;

function plotsOf(parts: Parts): Map<string, string> {
  const plots = new Map([[fileOf('ratios'), ratioPlot('Ratios and their targets', targetedIn(parts))]]);
  for (const [name, { tables }] of Object.entries(parts)) {
    for (const [at, table] of tables.entries())
      if (isPlotted(table)) plots.set(fileOf(name, at), plotOf(table));
  }
  return plots;
}

/** Whether its sides can stand on one axis, and there is something to compare. */
function isPlotted({ figures }: Table): boolean {
  const sides = figures.flatMap((figure) => figure.sides);
  return sides.length > 1 && new Set(sides.map(({ unit }) => unit)).size === 1;
}

function fileOf(name: string, at?: number): string {
  return `${at === undefined ? name : `${name}-${at + 1}`}.svg`;
}

/** The ratios that have a target, with the names of their tables. */
function targetedIn(parts: Parts): Figure[] {
  return Object.values(parts).flatMap(({ tables }) =>
    tables.flatMap(({ title, figures }) =>
      figures
        .filter(({ ratio, target }) => ratio && target)
        .map((figure) => ({ ...figure, label: `${title}: ${figure.label}` })),
    ),
  );
}

function pageOf(parts: Parts): string {
  return `${[
    INTRODUCTION,
    targetsOf(parts),
    `![Ratios and their targets](${PLOTS}/${fileOf('ratios')})`,
    ...Object.entries(parts).flatMap(([name, part]) => sectionOf(name, part)),
  ].join('\n\n')}\n`;
}

/** How each table with a target fares, and what in it is furthest from the target. */
function targetsOf(parts: Parts): string {
  const rows = Object.entries(parts).flatMap(([name, { tables }]) =>
    tables.flatMap(({ title, figures }) => {
      const [first, ...others] = figures.filter(({ target }) => target);
      if (!first) return [];
      const all = [first, ...others];
      const worst = all.toSorted((one, other) => distanceOf(other) - distanceOf(one))[0]!;
      const met = all.filter(isMet).length;
      const part = PARTS[name]!.title;
      return [
        [
          `[${part}](#${anchorOf(part)}): ${title}`,
          wordsOf(first.target!),
          met === all.length ? `all ${all.length} met` : `**${all.length - met} of ${all.length} missed**`,
          `${rounded(measuredOf(worst))} (${worst.label})`,
        ],
      ];
    }),
  );
  return markdownTable(['', 'target', '', 'worst'], rows);
}

/** Beyond 1: missed. */
function distanceOf(figure: Figure): number {
  const { target } = figure;
  const measured = measuredOf(figure);
  // What could not be measured is furthest.
  return ('atLeast' in target! ? target.atLeast / measured : measured / target!.atMost) || Infinity;
}

function sectionOf(
  name: string,
  { at, commit, command, records, tenants, machine, tables }: Measured,
): string[] {
  const { title, about } = PARTS[name]!;
  const log = records === 0 ? '' : `; ${grouped(records)} records of ${grouped(tenants)} tenants`;
  return [
    `## ${title}`,
    about,
    `${at.slice(0, 10)}, commit ${commit}, \`${command}\`${log}. ${machine}.`,
    ...tables.flatMap((table, index) => [
      `### ${table.title}`,
      tableOf(table),
      ...(isPlotted(table) ? [`![${table.title}](${PLOTS}/${fileOf(name, index)})`] : []),
    ]),
  ];
}

function tableOf({ figures }: Table): string {
  const sides = figures.find((figure) => figure.sides.length > 0)?.sides.map(({ name }) => name) ?? [];
  const hasRatio = figures.some(({ ratio }) => ratio);
  const hasTarget = figures.some(({ target }) => target);
  const head = ['', ...sides, ...(hasRatio ? ['ratio'] : []), ...(hasTarget ? ['target'] : [])];
  const rows = figures.map((figure) => [
    figure.label,
    ...sides.map((_, at) => sideCell(figure.sides[at])),
    ...(hasRatio ? [figure.ratio ? ratioCell(figure.ratio) : ''] : []),
    ...(hasTarget ? [targetCell(figure)] : []),
  ]);
  return markdownTable(head, rows);
}

function markdownTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [head, head.map((_, at) => (at === 0 ? '---' : '--:')), ...rows]
    .map((cells) => `| ${cells.join(' | ')} |`)
    .join('\n');
}

function sideCell(side: Side | undefined): string {
  if (!side) return '';
  const { unit, p50, p99 } = side;
  return `${rounded(p50)} ${unit}${p99 === undefined ? '' : ` (p99 ${rounded(p99)})`}`;
}

function ratioCell({ median, from, to }: Ratio): string {
  return `**${median.toFixed(2)}** (${from.toFixed(2)} to ${to.toFixed(2)})`;
}

function targetCell(figure: Figure): string {
  const { target } = figure;
  if (!target) return '';
  return isMet(figure) ? `${wordsOf(target)}: met` : `${wordsOf(target)}: **missed**`;
}

function wordsOf(target: Target): string {
  return 'atLeast' in target ? `≥ ${target.atLeast}` : `≤ ${target.atMost}`;
}

/** Three digits, or all of a whole number. */
function rounded(value: number): string {
  return value >= 100 ? grouped(Math.round(value)) : value.toPrecision(3);
}

function grouped(value: number): string {
  return value.toLocaleString('en');
}

function anchorOf(title: string): string {
  return title
    .toLowerCase()
    .replace(/[^\w -]/g, '')
    .replaceAll(' ', '-');
}
