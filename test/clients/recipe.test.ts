import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';

import { world } from '../world/server.ts';

const ROOT = path.resolve(import.meta.dirname, '../..');
const RECIPE = readFileSync(path.join(ROOT, 'docs/clients.md'), 'utf8');
/** As a consumer has it; the library is that of Node. */
const TSCONFIG = {
  compilerOptions: {
    target: 'es2023',
    module: 'nodenext',
    strict: true,
    noEmit: true,
    allowImportingTsExtensions: true,
    verbatimModuleSyntax: true,
    skipLibCheck: true,
    types: ['node'],
  },
  include: ['src'],
};

test(
  'the recipe of docs/clients.md generates types from a running server, compiles and asks',
  { timeout: 90_000 },
  async () => {
    const here = await world();
    const { admin } = await here.tenant();
    const folder = recipe(here.url);
    const run = (tool: string, ...args: string[]) =>
      promisify(execFile)(path.join(ROOT, 'node_modules/.bin', tool), args, { cwd: folder });

    await run('graphql-codegen', '--config', 'codegen.ts');
    await run('tsc', '--project', '.');
    const asked = path.join(folder, 'ask.ts');
    const module = JSON.stringify(pathToFileURL(path.join(folder, 'src/recent.ts')).href);
    const args = [`${here.url}/graphql`, admin.token].map((each) => JSON.stringify(each)).join(', ');
    writeFileSync(
      asked,
      `import { recent } from ${module};
    console.log(JSON.stringify(await recent(${args}, { filter: { actions: ['TENANT_CREATED'] } })));`,
    );
    const { stdout } = await run('tsx', asked);
    expect(JSON.parse(stdout)).toMatchObject({ auditLogs: { nodes: [{ action: 'TENANT_CREATED' }] } });

    // The types mean something: a field that was not asked for is not there.
    const source = path.join(folder, 'src/recent.ts');
    writeFileSync(
      source,
      `${readFileSync(source, 'utf8')}\nexport const wrong = (q: RecentQuery) => q.auditLogs.totalCount;\n`,
    );
    await expect(run('tsc', '--project', '.')).rejects.toMatchObject({
      stdout: expect.stringContaining('totalCount') as string,
    });
  },
);

/** The code blocks of the recipe that name a file, as those files, for this server. */
function recipe(url: string): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'custos-recipe-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  mkdirSync(path.join(folder, 'src'));
  symlinkSync(path.join(ROOT, 'node_modules'), path.join(folder, 'node_modules'));
  const blocks = [...RECIPE.matchAll(/```\w+ (\S+)\n([^]*?)```/g)];
  expect(blocks.map(([, file]) => file)).toEqual(['codegen.ts', 'src/recent.graphql', 'src/recent.ts']);
  for (const [, file, text] of blocks) {
    writeFileSync(path.join(folder, file!), text!.replace('http://127.0.0.1:4000', url));
  }
  writeFileSync(path.join(folder, 'package.json'), '{ "type": "module" }');
  writeFileSync(path.join(folder, 'tsconfig.json'), JSON.stringify(TSCONFIG));
  return folder;
}
