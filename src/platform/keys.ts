import { createPrivateKey, generateKeyPairSync, randomBytes, type KeyObject } from 'node:crypto';
import { link, mkdir, open, readFile, unlink } from 'node:fs/promises';
import path from 'node:path';
import { settingFault, type Settings } from './settings.ts';
import { systemCode } from './systemError.ts';

/** The three secrets a deployment stands on. */
export type Keys = {
  /** P-256: signs access tokens (ES256). */
  readonly jwt: KeyObject;
  /** Ed25519: signs checkpoints of the ledger. */
  readonly ledger: KeyObject;
  /** 32 bytes: wraps subject keys; the password pepper and HMAC keys are derived from it. */
  readonly master: Buffer;
};

type KeySettings = Pick<Settings, 'dataDir' | 'jwtPrivateKey' | 'ledgerPrivateKey' | 'masterKey'>;
type Secret = 'jwtPrivateKey' | 'ledgerPrivateKey' | 'masterKey';

/**
 * Takes each key from its setting, else from `keys/` in the data folder (0700, files 0600), where it is generated once:
 * processes which start at the same time agree on one. A key of the wrong kind is a `SettingsError` naming its variable.
 */
export async function openKeys(settings: KeySettings): Promise<Keys> {
  const jwt = await secretText(settings, 'jwtPrivateKey', 'jwt.pem', () =>
    pem(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey),
  );
  const ledger = await secretText(settings, 'ledgerPrivateKey', 'ledger.pem', () =>
    pem(generateKeyPairSync('ed25519').privateKey),
  );
  const master = await secretText(
    settings,
    'masterKey',
    'master.key',
    () => `${randomBytes(32).toString('base64')}\n`,
  );
  return {
    jwt: privateKey('jwtPrivateKey', jwt, 'ec', 'prime256v1'),
    ledger: privateKey('ledgerPrivateKey', ledger, 'ed25519'),
    master: masterKey(master),
  };
}

const pem = (key: KeyObject) => key.export({ type: 'pkcs8', format: 'pem' }).toString();

function privateKey(setting: Secret, text: string, type: 'ec' | 'ed25519', curve?: string): KeyObject {
  let key: KeyObject;
  try {
    // Files of environment variables cannot hold line breaks: "\n" stands for them there.
    key = createPrivateKey(text.replaceAll('\\n', '\n'));
  } catch {
    throw settingFault(setting, 'it is not a private key in PEM form without a passphrase');
  }
  const found = key.asymmetricKeyDetails?.namedCurve;
  if (key.asymmetricKeyType !== type || found !== curve) {
    throw settingFault(setting, `it is of kind ${[key.asymmetricKeyType, found].filter(Boolean).join(' ')}`);
  }
  return key;
}

function masterKey(text: string): Buffer {
  const trimmed = text.trim();
  const bytes = Buffer.from(trimmed, 'base64');
  // Buffer.from skips what is not base64, so a mistyped key would become another key.
  if (!/^[\w+/-]*={0,2}$/.test(trimmed)) throw settingFault('masterKey', 'it is not base64');
  if (bytes.length !== 32) throw settingFault('masterKey', `it has ${bytes.length} bytes`);
  return bytes;
}

async function secretText(
  settings: KeySettings,
  setting: Secret,
  file: string,
  generate: () => string,
): Promise<string> {
  const given = settings[setting];
  if (given !== undefined) {
    if (!given.startsWith('@')) return given;
    return readFile(given.slice(1), 'utf8').catch((cause: unknown) => {
      throw settingFault(setting, `its file cannot be read (${systemCode(cause)})`);
    });
  }
  const folder = path.join(settings.dataDir, 'keys');
  try {
    return await keptOnce(folder, path.join(folder, file), generate);
  } catch (cause) {
    throw settingFault(
      'dataDir',
      `the keys in it can be neither read nor made (${systemCode(cause) ?? String(cause)})`,
    );
  }
}

/** The file's text; made if there is none. A reader never sees a part of it, and the first of several writers wins. */
async function keptOnce(folder: string, file: string, generate: () => string): Promise<string> {
  const kept = () => readFile(file, 'utf8');
  try {
    return await kept();
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error;
  }
  await mkdir(path.dirname(folder), { recursive: true, mode: 0o700 });
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const draft = `${file}.${randomBytes(6).toString('hex')}`;
  const handle = await open(draft, 'wx', 0o600);
  try {
    await handle.writeFile(generate());
    await handle.sync();
    // Unlike rename, link refuses to replace: whoever comes second uses the first one's key.
    await link(draft, file).catch((error: unknown) => {
      if (systemCode(error) !== 'EEXIST') throw error;
    });
  } finally {
    await handle.close();
    await unlink(draft);
  }
  return kept();
}
