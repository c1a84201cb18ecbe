import { asUuid, microsOf } from './ids.ts';
import { decodeCursor, encodeCursor } from './cursor.ts';
import { Refusal } from './refusal.ts';

/** How many rows a page holds unless it is said. */
export const PAGE_DEFAULT = 50;
const PAGE_MAX = 500;

/** What a client says of a page (the Relay cursor connection specification). */
export interface PageArguments {
  readonly first?: number | null | undefined;
  readonly after?: string | null | undefined;
  readonly last?: number | null | undefined;
  readonly before?: string | null | undefined;
}

/** A page of a list whose order is that of the ids. */
export interface Page<Row> {
  readonly rows: readonly Row[];
  readonly hasNextPage: boolean;
  readonly hasPreviousPage: boolean;
  cursorOf(row: Row): string;
  /** How many rows the whole list has. Runs only when asked. */
  count(): Promise<number>;
}

/** What is to be read for a page, seen from the end that is paged from. */
interface Reading {
  /** One more than the page holds: the last says that there is more. */
  readonly limit: number;
  readonly descending: boolean;
  /** Rows on the far side of this id. */
  readonly beyond: string | undefined;
  /** And on the near side of this one. */
  readonly short: string | undefined;
}

/**
 * A page of the list that `kind` and `binding` (its filter, order and reader) name. Refuses sizes outside 1 to 500, both
 * ends at once, and cursors of other lists.
 */
export async function pageOf<Row extends { readonly id: string }>(
  list: { kind: string; binding: string; descending: boolean; count: () => Promise<number> },
  page: PageArguments,
  read: (reading: Reading) => Promise<readonly Row[]>,
): Promise<Page<Row>> {
  const { size, fromEnd } = sizeOf(page);
  const after = idIn(list, page.after);
  const before = idIn(list, page.before);
  const rows = await read({
    limit: size + 1,
    descending: list.descending !== fromEnd,
    beyond: fromEnd ? before : after,
    short: fromEnd ? after : before,
  });
  const more = rows.length > size;
  const kept = rows.slice(0, size);
  return {
    rows: fromEnd ? kept.toReversed() : kept,
    // The row of the cursor itself stands on its far side.
    hasNextPage: before !== undefined || (!fromEnd && more),
    hasPreviousPage: after !== undefined || (fromEnd && more),
    cursorOf: (row) => encodeCursor(list.kind, list.binding, [row.id]),
    count: list.count,
  };
}

/** How every connection answers. */
export const connection = {
  edges: <Row>(page: Page<Row>) => page.rows.map((node) => ({ cursor: page.cursorOf(node), node })),
  nodes: <Row>(page: Page<Row>) => page.rows,
  pageInfo: <Row>(page: Page<Row>) => {
    const [first, last] = [page.rows[0], page.rows.at(-1)];
    return {
      hasNextPage: page.hasNextPage,
      hasPreviousPage: page.hasPreviousPage,
      startCursor: first === undefined ? null : page.cursorOf(first),
      endCursor: last === undefined ? null : page.cursorOf(last),
    };
  },
  totalCount: <Row>(page: Page<Row>) => page.count(),
};

/** How many rows a page is to hold. Refuses sizes outside 1 to 500, and both ends at once. */
export function sizeOf({ first, last }: PageArguments) {
  const fields: Record<string, string> = {};
  for (const [field, value] of Object.entries({ first, last })) {
    if (typeof value === 'number' && (value < 1 || value > PAGE_MAX))
      fields[field] = `must be from 1 to ${PAGE_MAX}`;
  }
  if (typeof first === 'number' && typeof last === 'number') fields.last = 'excludes first';
  if (Object.keys(fields).length > 0) throw new Refusal('INVALID_INPUT', { fields });
  return { size: first ?? last ?? PAGE_DEFAULT, fromEnd: typeof last === 'number' };
}

function idIn({ kind, binding }: { kind: string; binding: string }, cursor: string | null | undefined) {
  if (cursor === null || cursor === undefined) return undefined;
  const id = decodeCursor(kind, binding, cursor)?.[0];
  const uuid = typeof id === 'string' ? asUuid(id) : undefined;
  if (uuid === undefined || !isTimed(uuid)) throw new Refusal('CURSOR_MISMATCH');
  return uuid;
}

function isTimed(uuid: string): boolean {
  try {
    microsOf(uuid);
    return true;
  } catch {
    return false;
  }
}
