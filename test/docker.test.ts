/** What the image and the compose file say is so, as far as it shows without Docker. */
import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';

import { openKeys } from '../src/platform/keys.ts';
import { SETTINGS_TABLE } from '../src/platform/settings.ts';
import { world } from './world/server.ts';

const ROOT = path.resolve(import.meta.dirname, '..');
const DOCKERFILE = read('Dockerfile');
const COMPOSE = read('compose.yaml');
const VARIABLES = SETTINGS_TABLE.map(({ variable }) => variable);
/** What the stage that runs holds, from its FROM on. */
const RUNNING = DOCKERFILE.slice(DOCKERFILE.lastIndexOf('\nFROM '));

test('every variable that is set is a setting', () => {
  const inImage = [...DOCKERFILE.matchAll(/^ENV (.*)$/gm)].flatMap(([, line]) => line!.match(/\w+(?==)/g)!);
  const custos = COMPOSE.slice(COMPOSE.indexOf('\n  custos:'), COMPOSE.indexOf('\nconfigs:'));
  const environment = /environment:\n((?: {6}\S.*\n)+)/.exec(custos)![1]!;
  const inCompose = [...environment.matchAll(/^ {6}(\w+):/gm), ...custos.matchAll(/(\w+)="\$\$\(cat /g)].map(
    ([, name]) => name!,
  );

  expect(inImage).toEqual(['NODE_ENV', 'HOST', 'PORT', 'CUSTOS_DATA_DIR']);
  expect(inCompose).toEqual(expect.arrayContaining(['PUBLIC_URL', 'DATABASE_URL', 'DATABASE_ADMIN_URL']));
  expect([...inImage, ...inCompose].filter((name) => !VARIABLES.includes(name))).toEqual([]);
});

test('everything that is copied exists once it is built, and .dockerignore lets it in', () => {
  const copied = [...DOCKERFILE.matchAll(/^COPY (?:--from=\w+ )?(.*) \S+$/gm)]
    .flatMap(([, sources]) => sources!.split(' '))
    .map((source) => source.replace(/^\/app\//, ''));
  const allowed = [...read('.dockerignore').matchAll(/^!(\S+)$/gm)].map(([, name]) => name!);

  expect(copied.length).toBeGreaterThan(8);
  expect([...copied, ...allowed].filter((name) => !existsSync(path.join(ROOT, name)))).toEqual([]);
  const built = ['dist', 'node_modules', '.'];
  const sent = copied.map((name) => name.split('/')[0]!).filter((name) => !built.includes(name));
  expect(sent.filter((name) => !allowed.includes(name))).toEqual([]);
});

test('what the program reads at run time, besides itself, is in the image', () => {
  const ways = [
    'src/platform/migrate.ts',
    'src/graphql/schema.ts',
    'src/http/explorer.ts',
    'src/http/schemaFile.ts',
  ]
    .map((file) => /new URL\('\.\.\/\.\.\/([^']+)'/.exec(read(file))![1]!)
    .map((way) => way.replace(/\/$/, ''));
  const held = [...RUNNING.matchAll(/^COPY --from=\w+ \S+ (\S+)$/gm)].map(([, to]) => to!);

  expect(ways).toHaveLength(4);
  expect(ways.filter((way) => !held.some((to) => `${way}/`.startsWith(`${to}/`)))).toEqual([]);
});

test('it runs as a user without rights, without a shell around it, and says how it is', () => {
  const user = /^USER (\S+)$/m.exec(RUNNING)?.[1];
  expect(user).toBe('node');
  expect(RUNNING.indexOf('\nUSER ')).toBeLessThan(RUNNING.indexOf('\nCMD '));
  expect(JSON.parse(/^CMD (\[.*\])$/m.exec(RUNNING)![1]!)).toEqual(['node', 'dist/main.js']);
  expect(RUNNING).toMatch(/^HEALTHCHECK [^]*?CMD \["node", "-e", .*\/healthz/m);
  expect(COMPOSE).toContain('exec node dist/main.js');
});

test('the health check of the image passes for a server, and fails where there is none', async () => {
  const [, ...words] = JSON.parse(/^ {2}CMD (\["node", "-e".*\])$/m.exec(RUNNING)![1]!) as string[];
  const check = (port: number) =>
    promisify(execFile)(process.execPath, words, { env: { PORT: String(port) } }).then(
      () => 'healthy',
      () => 'unhealthy',
    );
  const { url } = await world();

  expect(await check(Number(new URL(url).port))).toBe('healthy');
  expect(await check(1)).toBe('unhealthy');
});

test('compose.yaml makes its secrets once, each for the one who reads it, and holds none', async () => {
  const script = /- \|\n((?: {8}.*\n)+)/.exec(COMPOSE.slice(COMPOSE.indexOf('\n  secrets:')))![1]!;
  const folder = await mkdtemp(path.join(tmpdir(), 'custos-secrets-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const lines = script
    .replaceAll('$$', '$')
    .replace("folder = '/secrets'", `folder = '${folder}'`)
    .replace('chownSync(', 'void (');
  const make = () => promisify(execFile)(process.execPath, ['-e', lines]);
  await make();
  const secret = (name: string) => readFileSync(path.join(folder, name), 'utf8');
  const before = secret('master.key');
  await make();

  expect(secret('master.key')).toBe(before);
  const keys = await openKeys({
    dataDir: folder,
    jwtPrivateKey: `@${folder}/jwt.pem`,
    ledgerPrivateKey: `@${folder}/ledger.pem`,
    masterKey: `@${folder}/master.key`,
  });
  expect(keys.master).toHaveLength(32);
  expect(new URL(secret('url'))).toMatchObject({
    username: 'custos_login',
    password: secret('login-password'),
  });
  expect(new URL(secret('admin-url'))).toMatchObject({
    username: /POSTGRES_USER: (\S+)/.exec(COMPOSE)![1]!,
    password: secret('owner-password'),
  });
});

test('each volume and each service that is named is declared', () => {
  const [services, volumes] = [
    COMPOSE.slice(0, COMPOSE.indexOf('\nconfigs:')),
    COMPOSE.slice(COMPOSE.indexOf('\nvolumes:')),
  ];
  const mounted = [...services.matchAll(/(?:^ {6}- |\[)(\w+):\//gm)].map(([, name]) => name!);
  const needed = [...services.matchAll(/^ {6}(\w+): \{ condition: /gm)].map(([, name]) => name!);

  expect(mounted.length).toBeGreaterThan(4);
  expect(mounted.filter((name) => !volumes.includes(`\n  ${name}:`))).toEqual([]);
  expect(needed.filter((name) => !services.includes(`\n  ${name}:\n`))).toEqual([]);
});

function read(file: string): string {
  return readFileSync(path.join(ROOT, file), 'utf8');
}
