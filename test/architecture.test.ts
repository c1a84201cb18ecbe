import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';

const ROOT = path.resolve(import.meta.dirname, '..');

/** A room imports lower floors only, never a neighbour on its own, but for the neighbour's tables. */
const FLOORS: Readonly<Record<string, number>> = {
  platform: 0,
  ledger: 1,
  audit: 2,
  feed: 3,
  auth: 4,
  tenants: 4,
  users: 4,
  security: 4,
  archive: 4,
  delivery: 4,
  graphql: 5,
  http: 6,
  roof: 7,
};
/** Fewer imports seen than these means that this test looks in the wrong place, not that all is well. */
const LEAST_IMPORTS: Readonly<Record<string, number>> = {
  platform: 15,
  audit: 30,
  auth: 25,
  graphql: 15,
  http: 15,
  roof: 15,
};
const LEAST_IMPORTS_IN_ALL = 200;
const LINES_MAX = 400;
const DRAWERS = /^(utils?|helpers?|common|types|interfaces|misc|lib|index)\.ts$/;
const TOP_LEVEL = [
  'package.json',
  'package-lock.json',
  'tsconfig.json',
  'schema',
  'src',
  'drizzle',
  'test',
  'codegen.ts',
  'README.md',
  'console',
  'bench',
  'docs',
  'client',
  'Dockerfile',
  'compose.yaml',
  // Made, not committed:
  'node_modules',
  'dist',
];

interface Source {
  readonly file: string;
  readonly room: string;
  readonly text: string;
}

const sources = filesIn(path.join(ROOT, 'src'))
  .filter((file) => file.endsWith('.ts') && !file.includes('/generated/'))
  .map((file): Source => {
    const name = path.relative(path.join(ROOT, 'src'), file);
    return {
      file: name,
      room: name.includes('/') ? name.split('/')[0]! : 'roof',
      text: readFileSync(file, 'utf8'),
    };
  });

const imports = sources.flatMap(({ file, room, text }) =>
  [
    ...text.matchAll(
      /(?:^|\n)\s*(?:import|export)\b[^;'"]*?from\s*['"](\.[^'"]+)['"]|import\(\s*['"](\.[^'"]+)['"]/g,
    ),
  ].map((match) => {
    const target = path.join(path.dirname(file), match[1] ?? match[2]!);
    return { file, room, target, to: target.includes('/') ? target.split('/')[0]! : 'roof' };
  }),
);

test('every import leads to a lower floor, or to a neighbour’s tables', () => {
  const wrong = imports.filter(({ room, to, target }) => {
    if (to === 'generated' || room === to) return false;
    const down = FLOORS[to]! < FLOORS[room]!;
    const tables = FLOORS[to] === FLOORS[room] && target.endsWith('/tables.ts');
    return !(down || tables);
  });
  expect(wrong).toEqual([]);
});

test('the ledger needs nothing but cryptography, so a verifier needs no database', () => {
  const targets = imports
    .filter(({ room, to }) => room === 'ledger' && to !== 'ledger')
    .map(({ target }) => target);
  expect(targets.length).toBeGreaterThan(0);
  expect(targets.filter((target) => target !== 'platform/crypto.ts')).toEqual([]);
});

test('every room is on a floor, and enough imports were seen to mean something', () => {
  expect([...new Set(sources.map(({ room }) => room))].filter((room) => !(room in FLOORS))).toEqual([]);
  expect(imports.length).toBeGreaterThan(LEAST_IMPORTS_IN_ALL);
  for (const [room, least] of Object.entries(LEAST_IMPORTS)) {
    expect(imports.filter((each) => each.room === room).length, `imports seen in ${room}`).toBeGreaterThan(
      least,
    );
  }
});

test('no file is a drawer, none has a default export, none is too long to read', () => {
  expect(sources.filter(({ file }) => DRAWERS.test(path.basename(file))).map(({ file }) => file)).toEqual([]);
  expect(sources.filter(({ text }) => /^export default/m.test(text)).map(({ file }) => file)).toEqual([]);
  expect(sources.filter(({ text }) => text.split('\n').length > LINES_MAX).map(({ file }) => file)).toEqual(
    [],
  );
});

test('the console imports nothing of the server', () => {
  const files = filesIn(path.join(ROOT, 'console')).filter((file) => /\.tsx?$/.test(file));
  expect(files.length).toBeGreaterThan(5);
  expect(files.filter((file) => /from\s+['"][^'"]*\.\.\/src\//.test(readFileSync(file, 'utf8')))).toEqual([]);
});

test('the top level holds what it is meant to', () => {
  const entries = readdirSync(ROOT).filter((entry) => !entry.startsWith('.') && !entry.endsWith('.log'));
  expect(entries.filter((entry) => !TOP_LEVEL.includes(entry))).toEqual([]);
});

function filesIn(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    if (['node_modules', 'dist'].includes(entry.name)) return [];
    const full = path.join(folder, entry.name);
    return entry.isDirectory() ? filesIn(full) : [full];
  });
}
