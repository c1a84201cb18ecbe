/**
 * What became of an object, from the log alone. Each record holds the fields it changed, before and after: so an object at a
 * moment is what the last change of each field until then left, and the difference of two moments lies between the first and
 * the last change after the one and until the other. The order is that of the ids; a record of the later moment itself counts.
 */
import { and, inArray, sql } from 'drizzle-orm';

import { idFloor } from '../platform/ids.ts';
import type { Scope } from './act.ts';
import type { Change } from './entity.ts';
import { type Condition, inSql } from './filter.ts';
import { auditLogs, type AuditLogRow } from './tables.ts';

/** What every object that comes to be on record has from the beginning, and is never null. */
const FROM_THE_BEGINNING = 'status';
const UNTIL_THE_END = 'deletedAt';

/** The moments after `after` until `until`, in microseconds since 1970; all there are where one is not given. */
export interface While {
  readonly after?: bigint | undefined;
  readonly until?: bigint | undefined;
}

/** A change of a field, and the record that tells of it. */
export interface Told {
  readonly change: Change;
  readonly record: AuditLogRow;
}

/** What happened to one field in a while: the two may be the same. */
export interface FieldHistory {
  readonly path: string;
  readonly first: Told;
  readonly last: Told;
}

/**
 * The fields that changed in a while, by path. `changing` are the records that changed the object, of one tenant. Two
 * statements, whatever the number of records; the first reads each of them once and answers with a row a field.
 */
export async function fieldsChanged(
  { tx }: Pick<Scope, 'tx'>,
  changing: Condition,
  { after, until }: While,
): Promise<readonly FieldHistory[]> {
  const inside: Condition = {
    all: [
      changing,
      ...(after === undefined ? [] : [{ column: 'id', from: idFloor(after + 1n) } as const]),
      ...(until === undefined ? [] : [{ column: 'id', below: idFloor(until + 1n) } as const]),
    ],
  };
  // As text, because Postgres knows no least UUID; written in hexadecimal they have the same order. `offset 0` keeps the records
  // apart from their changes, which are taken for a hundred each: parallel workers would be sent for what one reads in a moment.
  const ends = await tx.execute<{ path: string; first: string; last: string }>(sql`
    select (change ->> 'path') collate "C" as path, min(id::text collate "C") as first, max(id::text collate "C") as last
    from (select id, changes from audit_logs where ${inSql(inside)} offset 0) as changing
    cross join lateral jsonb_array_elements(changes) as change
    group by 1 order by 1`);
  if (ends.length === 0) return [];
  const ids = [...new Set(ends.flatMap(({ first, last }) => [first, last]))];
  const records = await tx
    .select()
    .from(auditLogs)
    .where(and(inSql(inside), inArray(auditLogs.id, ids)));
  const byId = new Map(records.map((record) => [record.id, record]));
  const told = (path: string, id: string): Told => {
    const record = byId.get(id)!;
    return { record, change: record.changes.find((change) => change.path === path)! };
  };
  return ends.map(({ path, first, last }) => ({ path, first: told(path, first), last: told(path, last) }));
}

/** The record that brought the object to be; undefined where it is not among those that tell of the fields. */
export function creationIn(fields: readonly FieldHistory[]): AuditLogRow | undefined {
  const { first } = fields.find(({ path }) => path === FROM_THE_BEGINNING) ?? {};
  return first?.change.before === null ? first.record : undefined;
}

/** The record that changed any of the fields last. */
export function lastIn(fields: readonly FieldHistory[]): AuditLogRow {
  return fields.map(({ last }) => last.record).reduce((one, other) => (one.id > other.id ? one : other));
}

/** Whether the object was deleted in the end. */
export function isDeletedIn(fields: readonly FieldHistory[]): boolean {
  const { last } = fields.find(({ path }) => path === UNTIL_THE_END) ?? {};
  return (last?.change.after ?? null) !== null;
}
