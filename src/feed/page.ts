/** The log in sealed order, a page at a time: for clients that ask now and then instead of following it. */
import type { Condition } from '../audit/filter.ts';
import type { AuditLogRow } from '../audit/tables.ts';
import type { ReadTx } from '../platform/db.ts';
import { Refusal } from '../platform/refusal.ts';
import { cursorAt, placeOf, refuseDropped } from './cursor.ts';
import { endOf, eventsAt, placeIn, placesFrom } from './order.ts';

/** What one page may look at, however little of it fulfils the condition. */
const LOOKED_AT_MAX = 5_000n;
const CHUNK = 500;

export interface FeedPageOptions {
  /** Whose log; undefined for the whole platform's. */
  readonly tenantId: string | undefined;
  readonly condition: Condition;
  /** A cursor of this log, of a page or of a follower. */
  readonly after: string | null | undefined;
  /** Where to begin without one. */
  readonly from: 'BEGINNING' | 'END';
  /** How many records at most. */
  readonly first: number;
}

/** What comes next in the log. */
export interface FeedPage {
  readonly edges: readonly { readonly cursor: string; readonly node: AuditLogRow }[];
  /** Everything up to this page lies behind it, what the condition kept out too. */
  readonly nextCursor: string;
  /** Whether the sealed log goes on: there may be a next page, be this one full, half full or empty. */
  readonly hasMore: boolean;
}

/**
 * The next page. The transaction is that of the tenant or the platform. Throws CURSOR_MISMATCH for a cursor of another log and
 * for one beyond its end.
 */
export async function feedPage(
  tx: ReadTx,
  { tenantId, condition, after, from, first }: FeedPageOptions,
): Promise<FeedPage> {
  const end = await endOf(tx, tenantId);
  const beginning = from === 'END' ? end : 0n;
  const start = typeof after === 'string' ? placeOf(tenantId, after) : beginning;
  if (start > end) throw new Refusal('CURSOR_MISMATCH');
  if (typeof after === 'string') await refuseDropped(tx, tenantId, start);
  const edges: FeedPage['edges'][number][] = [];
  let next = start;
  // Without a condition the first look is the page.
  for (let size = first; edges.length < first && next < end && next < start + LOOKED_AT_MAX; size = CHUNK) {
    const places = await placesFrom(tx, tenantId, next, size);
    for (const event of await eventsAt(tx, places, condition)) {
      if (edges.length === first) break;
      next = placeIn(tenantId, event) + 1n;
      if (event.row) edges.push({ cursor: cursorAt(tenantId, next), node: event.row });
    }
  }
  return { edges, nextCursor: cursorAt(tenantId, next), hasMore: next < end };
}
