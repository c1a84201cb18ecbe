/** Fails when the tables in src/ and the migrations in drizzle/ disagree: when generating would write another migration. */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import config from './config.ts';

const root = path.resolve(import.meta.dirname, '..');
// Inside the repository: drizzle-kit takes `out` relative to where it runs.
const copy = mkdtempSync(path.join(root, 'node_modules', '.drift-'));
try {
  cpSync(path.join(root, 'drizzle'), copy, { recursive: true });
  const before = migrations();
  const settings = path.join(copy, 'drift.json');
  writeFileSync(settings, JSON.stringify({ ...config, out: path.relative(root, copy) }));
  execFileSync(
    path.join(root, 'node_modules', '.bin', 'drizzle-kit'),
    ['generate', `--config=${path.relative(root, settings)}`],
    {
      cwd: root,
      stdio: ['ignore', 'ignore', 'inherit'],
    },
  );
  const added = migrations().filter((file) => !before.includes(file));
  if (added.length > 0) {
    console.error(
      'The tables in src/ are ahead of drizzle/: run npx drizzle-kit generate --config drizzle/config.ts --name WHAT',
    );
    process.exitCode = 1;
  }
} finally {
  rmSync(copy, { recursive: true, force: true });
}

function migrations(): string[] {
  return readdirSync(copy).filter((file) => file.endsWith('.sql'));
}
