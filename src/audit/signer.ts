/** Who signs the heads of the trees, and under which name; see ledger/checkpoint.ts. */
import { createPublicKey, type KeyObject } from 'node:crypto';

import { printVerifierKey, signCheckpoint, signNote, type VerifierKey } from '../ledger/checkpoint.ts';
import type { Database } from '../platform/db.ts';
import { settingFault } from '../platform/settings.ts';
import { auditLedger } from './tables.ts';

/** Signs for all tenants with one key, under a name for each. */
export interface Signer {
  /** What its checkpoints are checked with: of the tenant's log, or of the platform's own. */
  key(tenantId: string): VerifierKey;
  /** The note of a checkpoint. */
  sign(tenantId: string, size: number, root: Buffer): string;
  /** A text that ends with a line break as a note, signed as the checkpoints are. */
  signNote(tenantId: string, text: string): string;
}

export interface SignerOptions {
  readonly db: Database;
  readonly privateKey: KeyObject;
  /** Where users reach this server: the ledger is named after it when it begins, and keeps that name. */
  readonly url: string;
}

/** Opens the ledger, or begins it. Rejects with a SettingsError when another key signed what there is. */
export async function openSigner({ db, privateKey, url }: SignerOptions): Promise<Signer> {
  const publicKey = createPublicKey(privateKey);
  const ours = printVerifierKey({ name: 'ledger', publicKey });
  const ledger = await db.withTx('PLATFORM', async (tx) => {
    const proposed = { name: url.replace(/^\w+:\/\//, ''), verifierKey: ours };
    await tx.insert(auditLedger).values(proposed).onConflictDoNothing();
    return (await tx.select().from(auditLedger))[0]!;
  });
  if (ledger.verifierKey !== ours) {
    const why = `it gives the verifier key ${ours}, but the checkpoints in this database are signed for ${ledger.verifierKey}`;
    throw settingFault('ledgerPrivateKey', why);
  }
  const key = (tenantId: string) => ({ name: logName(ledger.name, tenantId), publicKey });
  return {
    key,
    sign: (tenantId, size, root) => signCheckpoint({ origin: key(tenantId).name, size, root }, privateKey),
    signNote: (tenantId, text) => signNote(text, key(tenantId).name, privateKey),
  };
}

/** A tree's name is the address its tiles are served at, without the scheme. */
export function logName(ledger: string, tenantId: string): string {
  return `${ledger}/audit/${tenantId}`;
}
