import { sha256 } from './crypto.ts';

const CURSOR_CHARS_MAX = 512;
const TAG_BYTES = 8;

/**
 * An opaque cursor holding `value`. It is good for one kind of list and one binding (its filter and order) only:
 * `decodeCursor` answers undefined for any other.
 *
 * The tag catches mistakes, it is not a signature: a client can make a cursor up. Whoever decodes one still checks
 * each value, and what a caller may see is decided by the database, never by a cursor.
 *
 * Throws a RangeError if the cursor would be longer than 512 characters or a number is not finite.
 */
export function encodeCursor(kind: string, binding: string, value: readonly (string | number)[]): string {
  if (!value.every((part) => typeof part === 'string' || Number.isFinite(part))) {
    throw new RangeError(`A cursor of ${kind} holds strings and finite numbers only.`);
  }
  const cursor = Buffer.from(JSON.stringify([tagOf(kind, binding), ...value])).toString('base64url');
  if (cursor.length > CURSOR_CHARS_MAX) {
    throw new RangeError(
      `A cursor of ${kind} would be ${cursor.length} characters long; ${CURSOR_CHARS_MAX} are allowed.`,
    );
  }
  return cursor;
}

/**
 * The value of a cursor made by `encodeCursor` with the same kind and binding; undefined for anything else, be it
 * malformed, too long, altered, or of another list. Never throws.
 */
export function decodeCursor(kind: string, binding: string, cursor: string): (string | number)[] | undefined {
  if (cursor.length > CURSOR_CHARS_MAX) return undefined;
  const parts = parseJson(Buffer.from(cursor, 'base64url').toString());
  if (!Array.isArray(parts) || parts[0] !== tagOf(kind, binding)) return undefined;
  const value: unknown[] = parts.slice(1);
  if (!value.every((part) => typeof part === 'string' || typeof part === 'number')) return undefined;
  // One value has one spelling: base64url ignores stray characters and trailing bits, JSON ignores spaces.
  const canonical = Buffer.from(JSON.stringify(parts)).toString('base64url');
  return canonical === cursor ? value : undefined;
}

/** Kind and binding as JSON: ('a', 'bc') and ('ab', 'c') must not have the same tag. */
function tagOf(kind: string, binding: string): string {
  return sha256(JSON.stringify([kind, binding]))
    .subarray(0, TAG_BYTES)
    .toString('base64url');
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
