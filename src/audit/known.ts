/** What is known of a record without asking the database: each subscriber would pay a transaction an event for it. */
import type { Context } from './act.ts';
import type { PersonalValues } from './personal.ts';
import { personalOf, positionOf } from './query.ts';
import type { AuditLogRow } from './tables.ts';

const NOTHING: PersonalValues = {};
const positions = new WeakMap<AuditLogRow, bigint>();

/** Notes the position of a record in its tenant's order, which never changes. */
export function knownAt(row: AuditLogRow, position: bigint): void {
  positions.set(row, position);
}

/** The position of a record in its tenant's order; null while it is not sealed. */
export async function positionIn(context: Context, row: AuditLogRow): Promise<bigint | null> {
  return positions.get(row) ?? (await context.load(positionOf, row));
}

/** The personal values of a record, as far as their keys exist. */
export async function personalIn(context: Context, row: AuditLogRow): Promise<PersonalValues> {
  return row.pii === null ? NOTHING : await context.load(personalOf, row);
}
