/** `custos verify`: checks an exported log, the proof of one record, or the whole database. Prints what it found. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';

import { checkMonth, isMonth } from './archive/archiveFile.ts';
import { openVault } from './audit/personal.ts';
import { verifyAll } from './audit/verifyAll.ts';
import type { Command } from './commands.ts';
import { databaseAsItIs, openParts } from './foundation.ts';
import { parseVerifierKey, printVerifierKey, type VerifierKey } from './ledger/checkpoint.ts';
import { checkExport } from './ledger/exportFile.ts';
import { hashOfRecord } from './ledger/leaf.ts';
import { MANIFEST_HEADING, openManifest } from './ledger/manifest.ts';
import { parseProof, PROOF_HEADING, verifyProof } from './ledger/proof.ts';
import { openKeys } from './platform/keys.ts';

const PARQUET_HEADING = 'PAR1';

/** Checks an exported log, an archived month, a manifest with its file, or a `.tlog-proof`; rejects with what is wrong. `key` is the text of a verifier key. */
export async function verifyFile(file: string, keyText: string | undefined): Promise<string[]> {
  const key = keyText === undefined ? undefined : parseVerifierKey(keyText);
  if (await startsWith(file, PROOF_HEADING)) return await checkedProof(file, key);
  if (await startsWith(file, MANIFEST_HEADING)) return await checkedManifest(file, key);
  if (await startsWith(file, PARQUET_HEADING)) return await checkedMonth(file, key);
  return await checkedExport(file, key);
}

/** The file a manifest tells of is beside it, under its name without `.manifest`. */
async function checkedManifest(file: string, trusted: VerifierKey | undefined): Promise<string[]> {
  const manifest = openManifest(await readFile(file, 'utf8'), trusted);
  const told = file.replace(/\.manifest$/, '');
  if (told === file) throw new Error('a manifest is named after its file: FILE.manifest beside FILE');
  const hash = createHash('sha256');
  for await (const bytes of createReadStream(told)) hash.update(bytes as Buffer);
  if (hash.digest('hex') !== manifest.sha256)
    throw new Error(`${told} is not the file that its manifest tells of: the SHA-256 is another`);
  const { rows, from, to, log, key } = manifest;
  const inside = (await isMonth(told)) ? await checkedMonth(told, trusted) : [];
  return [
    ...inside.slice(0, 1),
    `${told} holds ${rows} of the records from ${from} up to ${to} of ${log}, as it was made from them.`,
    ...warningUnless(trusted, key),
  ];
}

/** A month that was archived proves itself; its manifest says besides that nothing was taken away. */
async function checkedMonth(file: string, trusted: VerifierKey | undefined): Promise<string[]> {
  const { month, log, records, key } = await checkMonth(file, trusted);
  return [`${records} records are those of ${log} in ${month}.`, ...warningUnless(trusted, key)];
}

async function checkedProof(file: string, key: VerifierKey | undefined): Promise<string[]> {
  const proof = parseProof(await readFile(file, 'utf8'));
  if (!key) throw new Error('a proof is checked with the key of its log: give it with --key');
  const { origin, size } = verifyProof(proof, hashOfRecord(proof.record), key);
  return [`The record at ${proof.index} is in ${origin}, as it was with ${size} records:`, proof.record];
}

async function checkedExport(file: string, trusted: VerifierKey | undefined): Promise<string[]> {
  const lines = createInterface({ input: createReadStream(file), crlfDelay: Infinity });
  const { key, from, to, head } = await checkExport(lines, trusted);
  return [
    `${to - from} records, from ${from} up to ${to}, are those of ${head.origin}, as it was with ${head.size} records.`,
    ...warningUnless(trusted, key),
  ];
}

function warningUnless(trusted: VerifierKey | undefined, key: VerifierKey): string[] {
  if (trusted) return [];
  return [
    `Checked with the key the file itself names: compare it with the one you were given.\n${printVerifierKey(key)}`,
  ];
}

export interface DatabaseCheck {
  readonly key?: string | undefined;
  /** Files with checkpoints that were kept elsewhere. */
  readonly checkpoints: readonly string[];
  /** Whether to check personal values too, with the master key of the environment. */
  readonly personal: boolean;
}

/** Checks everything in the database, and prints a line a log. Rejects when anything is wrong. */
export async function verifyDatabase(
  { settings, log }: Pick<Command, 'settings' | 'log'>,
  { key, checkpoints, personal }: DatabaseCheck,
  print: (line: string) => void,
): Promise<void> {
  const parts = openParts(log);
  try {
    const db = await databaseAsItIs({ settings, log, parts });
    const kept = await Promise.all(checkpoints.map((file) => readFile(file, 'utf8')));
    const trusted = key === undefined ? undefined : parseVerifierKey(key);
    const vault = personal ? openVault((await openKeys(settings)).master) : undefined;
    let faults = 0;
    for await (const { name, records, unsigned, fault } of verifyAll({ db, key: trusted, kept, vault })) {
      if (fault) faults++;
      const note = unsigned > 0 ? `, ${unsigned} of them under no checkpoint` : '';
      print(
        fault
          ? `WRONG ${name}: ${fault.reason} ${fault.message}`
          : `ok    ${name}: ${records} records${note}`,
      );
    }
    if (faults > 0) throw new Error(`${faults} of the logs are not what was signed`);
  } finally {
    await parts.stop();
  }
}

async function startsWith(file: string, heading: string): Promise<boolean> {
  const handle = await open(file);
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(heading.length));
    return buffer.subarray(0, bytesRead).toString() === heading;
  } finally {
    await handle.close();
  }
}
