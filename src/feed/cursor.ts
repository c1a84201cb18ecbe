/** A cursor of the live log: the next place in the sealed order of one tenant, or of all. One for every way of reading it. */
import { decodeCursor, encodeCursor } from '../platform/cursor.ts';
import { droppedUpTo } from '../audit/archived.ts';
import type { ReadTx } from '../platform/db.ts';
import { Refusal } from '../platform/refusal.ts';

/** The cursor that leads on from that place. */
export function cursorAt(tenantId: string | undefined, place: bigint): string {
  return encodeCursor('feed', bindingOf(tenantId), [String(place)]);
}

/** The place that a cursor leads on from. Throws CURSOR_MISMATCH for a cursor of another log. */
export function placeOf(tenantId: string | undefined, cursor: string): bigint {
  const [place, ...others] = decodeCursor('feed', bindingOf(tenantId), cursor) ?? [];
  if (typeof place !== 'string' || !/^(0|[1-9]\d{0,17})$/.test(place) || others.length > 0) {
    throw new Refusal('CURSOR_MISMATCH');
  }
  return BigInt(place);
}

/** A tenant's cursor counts the tenant's records only: a number of the platform would tell how busy the others are. */
function bindingOf(tenantId: string | undefined): string {
  return tenantId ?? 'platform';
}

/** Refuses a place of a tenant's log from which on retention has dropped records: whoever goes on there would miss them. */
export async function refuseDropped(tx: ReadTx, tenantId: string | undefined, place: bigint): Promise<void> {
  if (tenantId === undefined) return;
  const oldest = await droppedUpTo(tx, tenantId);
  if (place < oldest)
    throw new Refusal('CURSOR_TOO_OLD', { fields: { after: `the oldest is ${cursorAt(tenantId, oldest)}` } });
}
