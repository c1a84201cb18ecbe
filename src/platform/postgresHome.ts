import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chmod,
  chown,
  lstat,
  mkdir,
  readFile,
  realpath,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { z } from 'zod';
import { BARE_ENVIRONMENT, openShared, runnableBinaries, SHARED, type Identity } from './postgresBinaries.ts';
import { SettingsError } from './settings.ts';
import { systemCode } from './systemError.ts';

/** One embedded cluster: where it lies, what runs it, and as whom. */
export type Home = {
  /** Holds `data`, `passwords.json`, `port` and `postgres.log`. */
  readonly folder: string;
  /** What PostgreSQL calls PGDATA. */
  readonly data: string;
  /** The `postgres` binary. */
  readonly server: string;
  /** What to give `spawn` so that it runs as the cluster's owner. */
  readonly as: Identity;
  readonly passwords: Readonly<z.infer<typeof PASSWORDS>>;
};

/**
 * Finds the cluster in `<dataDir>/postgres`, or makes it, once and whole: of several processes which start together one
 * wins, and what a killed one leaves behind never counts as a cluster.
 *
 * PostgreSQL refuses to run as root, so root hands it to the owner of the cluster, at first the user `postgres`. The
 * data folder is opened to that user's group alone, and to walk through only. Where even that does not let it in (the
 * project lies in a private home folder), the cluster moves to /var/lib/custos and the data folder keeps a link to it;
 * binaries it cannot run are copied there as well.
 */
export async function openHome(dataDir: string): Promise<Home> {
  const entrance = path.join(dataDir, 'postgres');
  try {
    await mkdir(dataDir, { recursive: true, mode: 0o700 });
    if (!(await exists(entrance))) await build(dataDir, entrance);
  } catch (cause) {
    if (!['EACCES', 'EPERM', 'EROFS', 'EEXIST', 'ENOTDIR'].includes(systemCode(cause) ?? '')) throw cause;
    throw new SettingsError(
      `CUSTOS_DATA_DIR must be a folder that Custos can write to: ${String(cause).replace('Error: ', '')}`,
      {
        cause,
      },
    );
  }

  const folder = await realpath(entrance).catch(() => {
    throw new SettingsError(
      `CUSTOS_DATA_DIR holds a link ${entrance} to a database that is gone: restore it, or remove the link`,
    );
  });
  const data = path.join(folder, 'data');
  const as = asRoot() ? await ownerOf(data) : {};
  const inPlace = path.dirname(folder) === (await realpath(dataDir));
  if (inPlace) await letThrough(dataDir, as);
  const bin = await runnableBinaries(as);
  return { folder, data, server: path.join(bin, 'postgres'), as, passwords: await passwordsIn(folder) };
}

const run = promisify(execFile);
const PASSWORDS = z.object({ admin: z.string().min(1), app: z.string().min(1) });

const asRoot = () => process.getuid?.() === 0;
const exists = (file: string) =>
  lstat(file).then(
    () => true,
    () => false,
  );
const unique = () => randomBytes(6).toString('hex');

async function ownerOf(data: string): Promise<Identity> {
  const { uid, gid } = await stat(data);
  if (uid === 0) throw new SettingsError(`CUSTOS_DATA_DIR holds ${data}, which must not belong to root`);
  return { uid, gid };
}

async function passwordsIn(folder: string) {
  const file = path.join(folder, 'passwords.json');
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    throw new SettingsError(
      `CUSTOS_DATA_DIR must belong to the user who starts Custos: ${file} cannot be read (${systemCode(cause)})`,
    );
  });
  return PASSWORDS.parse(JSON.parse(text));
}

/** Makes a cluster under a name nobody looks for, then publishes it in one step. */
async function build(dataDir: string, entrance: string): Promise<void> {
  const as = asRoot() ? await postgresUser() : {};
  const bin = await runnableBinaries(as);
  const folder = await placeFor(dataDir, as);
  let published = false;
  try {
    const passwords = {
      admin: randomBytes(24).toString('base64url'),
      app: randomBytes(24).toString('base64url'),
    };
    await writeFile(path.join(folder, 'passwords.json'), JSON.stringify(passwords), {
      mode: 0o600,
      flag: 'wx',
    });
    const initial = path.join(folder, 'initial-password');
    await writeFile(initial, passwords.admin, { mode: 0o600, flag: 'wx' });
    await own(initial, as);
    await run(
      path.join(bin, 'initdb'),
      [
        `--pgdata=${path.join(folder, 'data')}`,
        '--username=postgres',
        `--pwfile=${initial}`,
        '--auth=scram-sha-256',
        '--data-checksums',
        '--encoding=UTF8',
        // PostgreSQL's own rules: the same order on every system, and no index to rebuild when its libraries change.
        '--locale=C',
        '--locale-provider=builtin',
        '--builtin-locale=C.UTF-8',
      ],
      { ...as, cwd: '/', env: BARE_ENVIRONMENT },
    );
    await rm(initial);
    published = await publish(folder, entrance);
  } finally {
    if (!published) await rm(folder, { recursive: true, force: true });
  }
}

/** False: another process was first. Neither rename nor symlink replaces a folder that has something in it. */
async function publish(folder: string, entrance: string): Promise<boolean> {
  const inPlace = path.dirname(folder) === path.dirname(entrance);
  try {
    await (inPlace ? rename(folder, entrance) : symlink(folder, entrance));
    return true;
  } catch (error) {
    if (['EEXIST', 'ENOTEMPTY', 'ENOTDIR'].includes(systemCode(error) ?? '')) return false;
    throw error;
  }
}

/** An empty folder with `data` in it, which the cluster's user can reach. */
async function placeFor(dataDir: string, as: Identity): Promise<string> {
  for (const parent of as.uid === undefined ? [dataDir] : [dataDir, SHARED]) {
    if (parent === SHARED) await openShared();
    else await letThrough(parent, as);
    const folder = path.join(parent, `postgres-${unique()}`);
    await mkdir(folder, { mode: 0o700 });
    await mkdir(path.join(folder, 'data'), { mode: 0o700 });
    await letThrough(folder, as);
    await own(path.join(folder, 'data'), as);
    if (as.uid === undefined || (await canEnter(path.join(folder, 'data'), as))) return folder;
    await rm(folder, { recursive: true });
  }
  throw new SettingsError(
    'CUSTOS_DATA_DIR must be a folder which the user postgres can reach, or Custos must not run as root',
  );
}

async function own(file: string, { uid, gid }: Identity): Promise<void> {
  if (uid !== undefined && gid !== undefined) await chown(file, uid, gid);
}

const canEnter = (folder: string, as: Identity) =>
  run('/bin/sh', ['-c', 'cd "$0"', folder], { ...as, cwd: '/', env: BARE_ENVIRONMENT }).then(
    () => true,
    () => false,
  );

/** Lets a group walk through a folder nobody but its owner may enter; it still cannot list it. Others stay shut out. */
async function letThrough(folder: string, as: Identity): Promise<void> {
  const { mode, uid } = await stat(folder);
  if (as.gid === undefined || as.uid === uid || (mode & 0o077) !== 0) return;
  await chown(folder, uid, as.gid);
  await chmod(folder, 0o710);
}

/** Found, or made where it is missing. */
async function postgresUser(): Promise<Required<Identity>> {
  const id = async (flag: string) => Number((await run('id', [flag, 'postgres'])).stdout);
  const find = async () => ({ uid: await id('-u'), gid: await id('-g') });
  return find().catch(async () => {
    await run('groupadd', ['--system', '--force', 'postgres']).catch(() => undefined);
    const user = ['--system', '--gid', 'postgres', '--no-create-home', '--shell', '/bin/false', 'postgres'];
    await run('useradd', user).catch(() => undefined);
    // Asked again whatever came of it: another process may have made it at the same time.
    return find().catch((cause: unknown) => {
      const ways = 'make it, start Custos as another user, or set DATABASE_URL';
      throw new Error(`PostgreSQL does not run as root, and there is no user postgres: ${ways}`, { cause });
    });
  });
}
