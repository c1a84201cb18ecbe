/**
 * Fails when the SDL breaks what was released, naming each change, or when the printed schema is stale.
 *
 * Two files are committed. `schema.graphql` says what the SDL says now, and every `npm run generate` rewrites it, so it cannot
 * be what a change is measured against. `released.graphql` is the last promise made to clients, and only a release moves it:
 * `npm run release:schema`, which `npm version` runs. In between, what nobody was promised may still change.
 */
import { execFileSync } from 'node:child_process';
import { copyFileSync, readFileSync } from 'node:fs';
import path from 'node:path';

import { printedSchema } from './printedSchema.ts';
import { schemaChanges } from './schemaChanges.ts';

const ROOT = path.join(import.meta.dirname, '..');
const PRINTED = path.join(import.meta.dirname, 'schema.graphql');
const RELEASED = path.join(import.meta.dirname, 'released.graphql');

const stale = whyStale();
if (stale !== undefined) {
  fail([stale]);
} else if (process.argv[2] === 'release') {
  copyFileSync(PRINTED, RELEASED);
} else {
  const { breaking, dangerous } = schemaChanges(readFileSync(RELEASED, 'utf8'), printedSchema());
  for (const change of dangerous) process.stdout.write(`worth a look: ${change}\n`);
  if (breaking.length > 0) {
    fail([
      'The SDL breaks clients of the released schema:',
      ...breaking.map((change) => `  ${change}`),
      'Keep the old beside the new, with @deprecated. If it is meant to break: npm run release:schema, and a major version.',
    ]);
  }
}

function whyStale(): string | undefined {
  if (readFileSync(PRINTED, 'utf8') !== printedSchema()) {
    return 'client/schema.graphql is not what schema/ says: run npm run generate, and commit it.';
  }
  // `npm ci` generates too, so where a commit forgot the printed schema it would be fresh in every checkout, and only there.
  const changed = changedSinceCommit();
  return changed.length === 1 && changed[0] === 'client/schema.graphql'
    ? 'client/schema.graphql was not committed with the SDL it was printed from: commit it.'
    : undefined;
}

/** Which of the printed schema and its sources differ from the last commit; none where there is no git. */
function changedSinceCommit(): string[] {
  try {
    const paths = ['schema', 'client/printedSchema.ts', 'client/schema.graphql'];
    const git = execFileSync('git', ['status', '--porcelain', '--', ...paths], {
      cwd: ROOT,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    return [...git.matchAll(/^.. (.+)$/gm)].map(([, file]) => file!);
  } catch {
    return [];
  }
}

function fail(lines: readonly string[]): void {
  process.stderr.write(`${lines.join('\n')}\n`);
  process.exitCode = 1;
}
