import { createHash, generateKeyPairSync, sign, verify, createPublicKey, type KeyObject } from 'node:crypto';
import { chmod, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { openKeys, type Keys } from '../../src/platform/keys.ts';
import { readSettings } from '../../src/platform/settings.ts';

const pem = (key: KeyObject) => key.export({ type: 'pkcs8', format: 'pem' }).toString();
const P256 = pem(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey);
const P384 = pem(generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey);
const ED25519 = pem(generateKeyPairSync('ed25519').privateKey);
const RSA = pem(generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey);
const PUBLIC = createPublicKey(P256).export({ type: 'spki', format: 'pem' }).toString();

test('keys are made once, and only their owner can read them', async () => {
  const dataDir = await folder();
  const first = await openKeys(settings({ CUSTOS_DATA_DIR: dataDir }));
  const second = await openKeys(settings({ CUSTOS_DATA_DIR: dataDir }));

  expect(printOf(second)).toBe(printOf(first));
  expect(first.jwt.asymmetricKeyDetails?.namedCurve).toBe('prime256v1');
  expect(first.ledger.asymmetricKeyType).toBe('ed25519');
  expect(first.master).toHaveLength(32);
  expect((await stat(dataDir)).mode & 0o777).toBe(0o700);
  expect((await stat(path.join(dataDir, 'keys'))).mode & 0o777).toBe(0o700);
  expect((await readdir(path.join(dataDir, 'keys'))).sort()).toEqual(['jwt.pem', 'ledger.pem', 'master.key']);
  for (const file of await readdir(path.join(dataDir, 'keys'))) {
    expect((await stat(path.join(dataDir, 'keys', file))).mode & 0o777).toBe(0o600);
  }
});

test('starters at the same time agree on one set of keys', async () => {
  const dataDir = await folder();
  const all = await Promise.all(
    Array.from({ length: 16 }, () => openKeys(settings({ CUSTOS_DATA_DIR: dataDir }))),
  );

  expect(new Set(all.map(printOf)).size).toBe(1);
});

test('keys are taken from the environment as text, with escaped line breaks, or from a file', async () => {
  const dataDir = await folder();
  const file = path.join(dataDir, 'ledger.pem');
  await writeFile(file, ED25519);
  const master = Buffer.alloc(32, 7);
  const keys = await openKeys(
    settings({
      CUSTOS_DATA_DIR: dataDir,
      JWT_PRIVATE_KEY: P256.replaceAll('\n', '\\n'),
      LEDGER_PRIVATE_KEY: `@${file}`,
      CUSTOS_MASTER_KEY: master.toString('base64'),
    }),
  );

  const data = Buffer.from('data');
  expect(verify('sha256', data, createPublicKey(P256), sign('sha256', data, keys.jwt))).toBe(true);
  expect(verify(null, data, createPublicKey(ED25519), sign(null, data, keys.ledger))).toBe(true);
  expect(keys.master).toEqual(master);
  expect(await readdir(dataDir)).toEqual(['ledger.pem']);
});

test.each([
  ['JWT_PRIVATE_KEY', ED25519, 'ed25519'],
  ['JWT_PRIVATE_KEY', P384, 'ec secp384r1'],
  ['JWT_PRIVATE_KEY', RSA, 'rsa'],
  ['JWT_PRIVATE_KEY', PUBLIC, 'not a private key'],
  ['JWT_PRIVATE_KEY', 'canary', 'not a private key'],
  ['JWT_PRIVATE_KEY', '@/no/such/file', 'ENOENT'],
  ['LEDGER_PRIVATE_KEY', P256, 'ec prime256v1'],
  ['CUSTOS_MASTER_KEY', Buffer.alloc(31).toString('base64'), '31 bytes'],
  ['CUSTOS_MASTER_KEY', Buffer.alloc(33).toString('base64'), '33 bytes'],
  ['CUSTOS_MASTER_KEY', `!${Buffer.alloc(32).toString('base64')}`, 'not base64'],
])('%s of the wrong kind is refused by name', async (variable, value, why) => {
  const opening = openKeys(settings({ CUSTOS_DATA_DIR: await folder(), [variable]: value }));

  await expect(opening).rejects.toMatchObject({
    name: 'SettingsError',
    message: expect.stringMatching(new RegExp(`^${variable} must be [^\n]*: [^\n]*${why}[^\n]*$`)),
  });
  await expect(opening).rejects.not.toThrow('canary');
});

test('a data folder that cannot be written is reported by the name of its variable', async () => {
  const dataDir = path.join(await folder(), 'file');
  await writeFile(dataDir, '');
  await chmod(dataDir, 0o600);

  await expect(openKeys(settings({ CUSTOS_DATA_DIR: dataDir }))).rejects.toThrow(/^CUSTOS_DATA_DIR must be/);
});

const settings = (env: NodeJS.ProcessEnv) => readSettings(env);

const printOf = ({ jwt, ledger, master }: Keys) =>
  createHash('sha256').update(pem(jwt)).update(pem(ledger)).update(master).digest('hex');

async function folder(): Promise<string> {
  const made = await mkdtemp(path.join(tmpdir(), 'custos-keys-'));
  onTestFinished(() => rm(made, { recursive: true }));
  return made;
}
