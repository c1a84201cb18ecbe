import type { AuditResource } from '../generated/types.ts';

/**
 * How a column is kept in the log. TRACK: before and after, in clear. PII: before and after, encrypted under the subject's
 * key. SECRET: only that it changed. OMIT: not at all.
 */
type Classification = 'TRACK' | 'PII' | 'SECRET' | 'OMIT';

/** How one kind of row is named, compared and classified. Total over its columns: a new column without a class does not compile. */
export interface Entity<Row, Resource extends AuditResource = AuditResource> {
  readonly resource: Resource;
  readonly columns: { readonly [Column in keyof Row]-?: Classification };
  readonly id: (row: Row) => string;
  /** The tenant whose log tells of the row. */
  readonly tenantId: (row: Row) => string;
  /** What people call it. */
  readonly label: (row: Row) => string | null;
  /** The person whose data the row holds; their key encrypts what is PII, the label included. Absent: it holds none. */
  readonly subject?: (row: Row) => string;
}

/** Declares an entity, its row type given first and its resource inferred. */
export const entity =
  <Row>() =>
  <const Resource extends AuditResource>(facts: Entity<Row, Resource>): Entity<Row, Resource> =>
    facts;

/** A changed column. */
export interface Change {
  readonly path: string;
  readonly sensitivity?: 'PII' | 'SECRET';
  readonly before?: unknown;
  readonly after?: unknown;
}

/** What an entity's row went through: every recorded column whose value differs. An absent row counts as all null. */
export function changesOf<Row>(of: Entity<Row>, before: Row | undefined, after: Row | undefined): Change[] {
  const columns = Object.entries(of.columns) as [keyof Row & string, Classification][];
  return columns.flatMap(([path, classification]): Change[] => {
    const was = valueOf(before?.[path]);
    const is = valueOf(after?.[path]);
    if (classification === 'OMIT' || JSON.stringify(was) === JSON.stringify(is)) return [];
    if (classification === 'SECRET') return [{ path, sensitivity: 'SECRET' }];
    if (classification === 'PII') return [{ path, sensitivity: 'PII', before: was, after: is }];
    return [{ path, before: was, after: is }];
  });
}

function valueOf(value: unknown): unknown {
  if (value === undefined) return null;
  return Buffer.isBuffer(value) ? value.toString('base64') : value;
}
