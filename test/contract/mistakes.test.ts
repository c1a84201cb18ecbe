import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, expect, test } from 'vitest';

const FOLDER = path.join(import.meta.dirname, 'mistakes');
const ROOT = path.resolve(import.meta.dirname, '../..');
const MARK = /\/\/ the mistake: (TS\d+)/;

const files = readdirSync(FOLDER).filter((file) => file.endsWith('.ts'));
let faults: { file: string; line: number; code: string }[] = [];

beforeAll(() => {
  const tsc = path.join(ROOT, 'node_modules', '.bin', 'tsc');
  const { stdout } = spawnSync(tsc, ['--noEmit', '--project', FOLDER], { cwd: ROOT, encoding: 'utf8' });
  faults = [...stdout.matchAll(/^(\S+?)\((\d+),\d+\): error (TS\d+)/gm)].map(([, file, line, code]) => ({
    file: path.basename(file!),
    line: Number(line),
    code: code!,
  }));
});

test('the house without a mistake compiles', () => {
  expect(faults.filter(({ file }) => !files.includes(file) || file === 'none.ts')).toEqual([]);
});

test.each(files.filter((file) => file !== 'none.ts'))(
  'the compiler stops the mistake in %s, and nothing else there',
  (file) => {
    const lines = readFileSync(path.join(FOLDER, file), 'utf8').split('\n');
    const marked = lines.flatMap((text, at) => {
      const code = MARK.exec(text)?.[1];
      return code ? [{ file, line: at + 1, code }] : [];
    });

    expect(marked).toHaveLength(1);
    expect(faults.filter((fault) => fault.file === file)).toEqual(marked);
  },
);
