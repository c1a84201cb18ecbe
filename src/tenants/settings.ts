import { and, eq, isNull } from 'drizzle-orm';
import { z } from 'zod';

import { confinedTo, type Context, type Deed } from '../audit/act.ts';
import { PLATFORM_TENANT } from '../audit/tables.ts';
import { asUuid, isoOf } from '../platform/ids.ts';
import { checkedInput, name } from '../platform/input.ts';
import { Refusal, refuseUnlessEmpty } from '../platform/refusal.ts';
import {
  effective,
  type EffectiveSettings,
  lockTenant,
  SETTINGS,
  settingsOf,
  tenants,
  tenantSettings,
} from './tables.ts';

const within = (min: number, max: number) =>
  z
    .int('must be a whole number')
    .min(min, `must be from ${min} to ${max}`)
    .max(max, `must be from ${min} to ${max}`);

const changesOf = z.object({
  organisation: z
    .object({
      displayName: name.nullish(),
      supportUrl: z
        .url({ protocol: /^https?$/, error: 'must be an http(s) address' })
        .max(500, 'must have at most 500 characters')
        .nullish(),
      timeZone: z.string().refine(isTimeZone, 'must be an IANA time zone, such as Europe/Zurich').nullish(),
      locale: z.string().refine(isLocale, 'must be a BCP 47 language tag, such as de-CH').nullish(),
    })
    .nullish(),
  security: z
    .object({
      failedLoginsPerAccount: within(3, 1_000).nullish(),
      failedLoginsPerAddress: within(3, 10_000).nullish(),
      failedLoginsWindowMinutes: within(1, 1_440).nullish(),
      sprayedAccounts: within(3, 10_000).nullish(),
      familiarDays: within(1, 365).nullish(),
      dormantDays: within(1, 3_650).nullish(),
      travelKmPerHour: within(100, 100_000).nullish(),
      bulkDeletions: within(2, 10_000).nullish(),
      bulkExports: within(2, 10_000).nullish(),
      bulkWindowMinutes: within(1, 1_440).nullish(),
      requireVerifiedEmail: z.boolean().nullish(),
    })
    .nullish(),
  sessions: z.object({ maxDays: within(1, 365).nullish(), idleDays: within(1, 90).nullish() }).nullish(),
});

/** The settings the caller may see: its own tenant's, or for those of the platform any tenant's, and without an id theirs. */
export async function visibleSettings(
  context: Context,
  id: string | null | undefined,
): Promise<EffectiveSettings> {
  const own = confinedTo(context.actor);
  const wanted = asUuid(id ?? own ?? PLATFORM_TENANT);
  if (wanted === undefined || (own !== undefined && own !== wanted)) throw new Refusal('TENANT_NOT_FOUND');
  return await context.read(async ({ tx }) => {
    const known =
      id === null || id === undefined
        ? [wanted]
        : await tx
            .select({ id: tenants.id })
            .from(tenants)
            .where(and(eq(tenants.id, wanted), isNull(tenants.deletedAt)));
    if (known.length === 0) throw new Refusal('TENANT_NOT_FOUND');
    return await settingsOf(tx, wanted);
  });
}

export const updateSettings: Deed<'updateSettings'> = async (act, input) => {
  const { organisation, security, sessions } = checkedInput(changesOf, input);
  const ofPlatform = confinedTo(act.actor) === undefined && (input.tenantId ?? null) === null;
  const tenantId = ofPlatform ? PLATFORM_TENANT : (await lockTenant(act, input.tenantId)).id;
  const updatedAt = isoOf(act.now);
  // Of two that change them first at once, the second waits here for the row.
  await act.tx.insert(tenantSettings).values({ tenantId, updatedAt }).onConflictDoNothing();
  const here = eq(tenantSettings.tenantId, tenantId);
  const [before] = await act.tx.select().from(tenantSettings).where(here).for('update');
  act.about(SETTINGS, before!);
  const [after] = await act.tx
    .update(tenantSettings)
    .set({ ...organisation, ...security, ...sessions, updatedAt })
    .where(here)
    .returning();
  const settings = effective(tenantId, after);
  const { maxDays, idleDays } = settings;
  refuseUnlessEmpty(
    idleDays > maxDays ? { 'sessions.idleDays': `must be at most maxDays, which is ${maxDays}` } : {},
  );
  return act.done({ settings }, { of: SETTINGS, before, after });
};

function isTimeZone(zone: string): boolean {
  return isAccepted(() => new Intl.DateTimeFormat('en', { timeZone: zone }));
}

function isLocale(tag: string): boolean {
  return isAccepted(() => Intl.getCanonicalLocales(tag));
}

function isAccepted(attempt: () => unknown): boolean {
  try {
    attempt();
    return true;
  } catch {
    return false;
  }
}
