/** Links to files, for a browser that follows one without a header: signed, short-lived, and good only while a session lives. */
import { timingSafeEqual } from 'node:crypto';

import { z } from 'zod';

import type { Services } from '../audit/act.ts';
import { hmac256 } from '../platform/crypto.ts';

const LIFE_MICROS = 10n * 60_000_000n;

const Said = z.object({
  tenantId: z.string(),
  exportId: z.string(),
  sessionId: z.string(),
  until: z.string(),
});

/** What a link leads to, and for whom. */
export type Link = Omit<z.infer<typeof Said>, 'until'>;

type At = Pick<Services, 'keyFor' | 'clock'>;

/** The text of a link that is good for ten minutes. */
export function issueLink({ keyFor, clock }: At, link: Link): string {
  const until = String(clock.now() + LIFE_MICROS);
  const said = Buffer.from(JSON.stringify({ ...link, until })).toString('base64url');
  return `${said}.${signature(keyFor, said)}`;
}

/** What a link says; undefined for one that is not ours or whose time is over. */
export function openLink({ keyFor, clock }: At, text: string): Link | undefined {
  const [said = '', signed = ''] = text.split('.');
  const [ours, theirs] = [Buffer.from(signature(keyFor, said)), Buffer.from(signed)];
  if (ours.length !== theirs.length || !timingSafeEqual(ours, theirs)) return undefined;
  const { until, ...link } = Said.parse(JSON.parse(Buffer.from(said, 'base64url').toString()));
  return BigInt(until) > clock.now() ? link : undefined;
}

function signature(keyFor: Services['keyFor'], said: string): string {
  return hmac256(keyFor('download links'), said).toString('base64url');
}
