import type { Change } from './entity.ts';

/** What `details` and `changes` may weigh together: 32 KiB, so that a record fits a ledger entry many times over. */
const DETAILS_BYTES_MAX = 16 * 1024;
const CHANGES_BYTES_MAX = 16 * 1024;
const STRING_CHARS_MAX = 2048;
const DEPTH_MAX = 16;
const CUT = '… (cut)';

/**
 * A value as the log can hold it: what Postgres and canonical JSON both keep unchanged. NUL becomes U+2400, a lone
 * surrogate U+FFFD, numbers that JSON does not have their name; what is too long or too deep is cut, visibly.
 */
export function recordable(value: unknown, depth = 0): unknown {
  if (typeof value === 'string') return recordableText(value, STRING_CHARS_MAX);
  if (typeof value === 'bigint') return String(value);
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value);
  if (typeof value !== 'object' || value === null) return value ?? null;
  if (depth >= DEPTH_MAX) return `… (cut: deeper than ${DEPTH_MAX})`;
  if (Array.isArray(value)) return value.map((each) => recordable(each, depth + 1));
  const entries = Object.entries(value).filter(([, each]) => each !== undefined);
  return Object.fromEntries(
    entries.map(([key, each]) => [recordableText(key, STRING_CHARS_MAX), recordable(each, depth + 1)]),
  );
}

/** Text as the log can hold it, of at most `charsMax` characters. */
export function recordableText(text: string, charsMax: number): string {
  const whole = text.replaceAll('\0', '\u2400');
  if (whole.length <= charsMax) return wellFormed(whole);
  return `${wellFormed(whole.slice(0, charsMax))}… (cut: ${text.length} characters)`;
}

/** Details within their bound; beyond it only their size is kept. */
export function boundedDetails(details: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const whole = recordable(details) as Record<string, unknown>;
  const bytes = bytesOf(whole);
  return bytes <= DETAILS_BYTES_MAX
    ? whole
    : { cut: `details had ${bytes} bytes; ${DETAILS_BYTES_MAX} are kept` };
}

/** Changes within their bound; beyond it only the paths are kept, and what is not shown anyway. */
export function boundedChanges(changes: readonly Change[]): Change[] {
  const whole = changes.map((change) => recordable(change) as Change);
  if (bytesOf(whole) <= CHANGES_BYTES_MAX) return whole;
  return whole.map(({ path, sensitivity }) =>
    sensitivity ? { path, sensitivity } : { path, before: CUT, after: CUT },
  );
}

/** Whether of a change only its path was kept. The two values of a change differ, so two that say "cut" are nobody's. */
export function isCut({ before, after }: Change): boolean {
  return before === CUT && after === CUT;
}

function wellFormed(text: string): string {
  return (text as string & { toWellFormed(): string }).toWellFormed();
}

function bytesOf(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value));
}
