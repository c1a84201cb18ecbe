/** A cursor of the live log: the next place in the sealed order of one tenant, or of all. One for every way of reading it. */
import { decodeCursor, encodeCursor } from '../platform/cursor.ts';
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
