/**
 * What a file made of a log is: how many records and bytes, their hash, and where they stand in the log; as a note signed with the
 * log's key (https://c2sp.org/signed-note), beside the checkpoint that covers the log as it was then.
 */
import { z } from 'zod';

import { openCheckpoint, openNote, parseVerifierKey, type VerifierKey } from './checkpoint.ts';

/** What the file of a manifest begins with. */
export const MANIFEST_HEADING = 'custos-file@v1\n';
const Position = z.int().min(0).nullable();

const Manifest = z.object({
  /** The name of the log. */
  log: z.string(),
  /** The key that signed it says it is; trust it only if you got the same by another way. */
  verifierKey: z.string(),
  format: z.string(),
  /** What of the log is in the file: a filter as the schema has it, or null for all. */
  filter: z.unknown(),
  /** Which part of the log was gone through: these positions, the latter excluded. */
  from: z.int().min(0),
  to: z.int().min(0),
  rows: z.int().min(0),
  bytes: z.int().min(0),
  /** SHA-256 of the file, hexadecimal. */
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  firstPosition: Position,
  lastPosition: Position,
  /** The signed head of the log when it had at least `to` records; null for an empty log. */
  checkpoint: z.string().nullable(),
});

export type Manifest = z.infer<typeof Manifest>;

/** The text of the note. */
export function manifestText(manifest: Manifest): string {
  return `${MANIFEST_HEADING}${JSON.stringify(manifest)}\n`;
}

/** What a manifest says. Throws an Error that tells what is wrong unless it, and the checkpoint in it, is signed; by that key if one is given. */
export function openManifest(note: string, trusted?: VerifierKey): Manifest & { readonly key: VerifierKey } {
  const manifest = said(note);
  const key = trusted ?? parseVerifierKey(manifest.verifierKey);
  openNote(note, key, 'manifest');
  if (manifest.log !== key.name)
    throw new Error(`The manifest is one of ${manifest.log}, not of ${key.name}.`);
  const head = manifest.checkpoint === null ? undefined : openCheckpoint(manifest.checkpoint, key);
  if ((head?.size ?? 0) < manifest.to)
    throw new Error(`The manifest tells of ${manifest.to} records, its checkpoint of ${head?.size ?? 0}.`);
  return { ...manifest, key };
}

function said(note: string): Manifest {
  const [, second = ''] = note.split('\n');
  try {
    if (note.startsWith(MANIFEST_HEADING)) return Manifest.parse(JSON.parse(second));
  } catch (cause) {
    throw new Error('The manifest is malformed.', { cause });
  }
  throw new Error('This is not a manifest.');
}
