/** The file of an export, as it lies in the database: its parts, each compressed and encrypted. */
import { promisify } from 'node:util';
import { gunzip, gzip } from 'node:zlib';

import { and, asc, eq } from 'drizzle-orm';

import type { Services } from '../audit/act.ts';
import { openBox, sealBox } from '../platform/crypto.ts';
import type { Database } from '../platform/db.ts';
import { type AuditExportRow, auditExportParts } from './tables.ts';

type Named = Pick<AuditExportRow, 'tenantId' | 'id'>;

/** The next part of a file. */
export interface NewPart {
  readonly number: number;
  readonly body: Buffer;
  readonly footer: Buffer | null;
}

const compress = promisify(gzip);
const decompress = promisify(gunzip);

/** The key that parts are encrypted under. */
export function exportKey({ keyFor }: Pick<Services, 'keyFor'>): Buffer {
  return keyFor('export parts');
}

/** A part, compressed and encrypted: what `auditExportParts` holds of it. */
export async function sealedPart(
  key: Buffer,
  { tenantId, id }: Named,
  { number, body, footer }: NewPart,
): Promise<typeof auditExportParts.$inferInsert> {
  const packed = await compress(body);
  return { tenantId, exportId: id, number, footer, body: sealBox(key, packed, nameOf(id, number)) };
}

/** What the end of the file is to be told of its parts, and how many there are. */
export async function footersOf(
  db: Database,
  { tenantId, id }: Named,
): Promise<{ readonly count: number; readonly footers: readonly Buffer[] }> {
  const parts = await db.withReadTx({ tenantId }, (tx) =>
    tx
      .select({ footer: auditExportParts.footer })
      .from(auditExportParts)
      .where(partsOf({ tenantId, id }))
      .orderBy(asc(auditExportParts.number)),
  );
  return { count: parts.length, footers: parts.flatMap(({ footer }) => footer ?? []) };
}

/** The bytes of the file, a part at a time. */
export async function* fileOf(db: Database, key: Buffer, { tenantId, id }: Named): AsyncGenerator<Buffer> {
  for (let number = 0; ; number++) {
    const [part] = await db.withReadTx({ tenantId }, (tx) =>
      tx
        .select({ body: auditExportParts.body })
        .from(auditExportParts)
        .where(and(partsOf({ tenantId, id }), eq(auditExportParts.number, number))),
    );
    if (!part) return;
    yield await decompress(openBox(key, part.body, nameOf(id, number)));
  }
}

function partsOf({ tenantId, id }: Named) {
  return and(eq(auditExportParts.tenantId, tenantId), eq(auditExportParts.exportId, id));
}

function nameOf(id: string, number: number): Buffer {
  return Buffer.from(`${id}/${number}`);
}
