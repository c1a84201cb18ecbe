/** Whose log something is about. */
import { eq } from 'drizzle-orm';

import { confinedTo, type Scope } from '../audit/act.ts';
import { PLATFORM_TENANT } from '../audit/tables.ts';
import { asUuid } from '../platform/ids.ts';
import { Refusal } from '../platform/refusal.ts';
import { tenants } from '../tenants/tables.ts';

/** Whose log is named, also that of a deleted tenant; unnamed, the caller's own or the platform's. */
export async function logNamed(
  { actor, tx }: Pick<Scope, 'actor' | 'tx'>,
  tenantId: string | null | undefined,
): Promise<string> {
  const own = confinedTo(actor);
  if (typeof tenantId !== 'string') return own ?? PLATFORM_TENANT;
  const uuid = asUuid(tenantId);
  const isVisible = uuid !== undefined && (own === undefined || own === uuid);
  const found = isVisible
    ? await tx.select({ id: tenants.id }).from(tenants).where(eq(tenants.id, uuid))
    : [];
  if (found.length === 0) throw new Refusal('TENANT_NOT_FOUND');
  return uuid!;
}

/** A log as it is named to the outside: null for the platform's. */
export function namedLog(tenantId: string): string | null {
  return tenantId === PLATFORM_TENANT ? null : tenantId;
}
