/** What is known of a record without asking the database: each subscriber would pay a transaction an event for it. */
import type { Context } from './act.ts';
import type { PersonalValues } from './personal.ts';
import { personalOf, positionOf } from './query.ts';
import type { AuditLogRow } from './tables.ts';

const NOTHING: PersonalValues = {};
const positions = new WeakMap<AuditLogRow, bigint>();
const personal = new WeakMap<AuditLogRow, PersonalValues>();

/** Notes the position of a record in its tenant's order, which never changes. */
export function knownAt(row: AuditLogRow, position: bigint): void {
  positions.set(row, position);
}

/** The position of a record in its tenant's order; null while it is not sealed. */
export async function positionIn(context: Context, row: AuditLogRow): Promise<bigint | null> {
  return positions.get(row) ?? (await context.load(positionOf, row));
}

/** Reads the personal values of records, so that none of their fields has to wait for them. */
export async function knowPersonal(context: Context, rows: readonly AuditLogRow[]): Promise<void> {
  const sealed = rows.filter((row) => row.pii !== null);
  const values = await context.read((scope) => personalOf(scope, sealed));
  for (const [at, row] of sealed.entries()) personal.set(row, values[at]!);
}

/** The personal values of a record, as far as their keys exist; no promise where they are known. */
export function personalIn(context: Context, row: AuditLogRow): PersonalValues | Promise<PersonalValues> {
  return row.pii === null ? NOTHING : (personal.get(row) ?? context.load(personalOf, row));
}

/** What follows from a value, at once where it is there: a promise costs more than most fields. */
export function after<T, R>(value: T | Promise<T>, then: (value: T) => R): R | Promise<R> {
  return value instanceof Promise ? value.then(then) : then(value);
}
