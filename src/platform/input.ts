import { z } from 'zod';

import { Refusal } from './refusal.ts';

/** A line of text from 1 to `charsMax` characters, white space around it cut off. */
export const line = (charsMax: number) =>
  z
    .string()
    .trim()
    .min(1, 'must not be empty')
    .max(charsMax, `must have at most ${charsMax} characters`)
    .regex(/^[^\p{Cc}]*$/u, 'must not hold control characters');

/** What people are called: 1 to 120 characters. */
export const name = line(120);

/** Why something is done: 1 to 500 characters. */
export const reason = line(500);

/** One mailbox that mail can be sent to, and nothing that a header would take for more (platform/mail.ts). */
const MAILBOX = /^[^\s\p{C}<>()[\],;:"\\@]{1,64}@[^\s\p{C}<>()[\],;:"\\@]{1,255}$/u;

/** An e-mail in the form it is stored and compared in: NFKC, lower case. Internationalised addresses are welcome. */
export const email = z
  .string()
  .transform(normalizedEmail)
  .pipe(
    z
      .email({ pattern: MAILBOX, error: 'must be an e-mail address' })
      .max(254, 'must have at most 254 characters'),
  );

/** A DNS label (RFC 1035) of 3 to 63 characters. */
export const subdomain = z
  .string()
  .trim()
  .toLowerCase()
  .regex(/^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$/, 'must have 3 to 63 of a-z, 0-9 and inner hyphens');

/** A limit: a whole number from 0. */
export const limit = z.int('must be a whole number').min(0, 'must be 0 or more');

/** The e-mail as it is stored, compared and hashed. */
export function normalizedEmail(text: string): string {
  return text.normalize('NFKC').trim().toLowerCase();
}

/** The input in its stored form, without what was not given. Refuses with every field that is wrong. */
export function checkedInput<Schema extends z.ZodType>(schema: Schema, input: unknown): z.output<Schema> {
  const result = schema.safeParse(input);
  if (result.success) return result.data;
  const fields = result.error.issues.map((issue) => [issue.path.join('.') || 'input', issue.message]);
  throw new Refusal('INVALID_INPUT', { fields: Object.fromEntries(fields) as Record<string, string> });
}
