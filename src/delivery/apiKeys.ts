/** Keys with which programs act. */
import { randomBytes } from 'node:crypto';

import { and, desc, eq } from 'drizzle-orm';
import { z } from 'zod';

import { confinedTo, type Deed, type Fields, holds } from '../audit/act.ts';
import { entity } from '../audit/entity.ts';
import type { ApiKey, ApiKeyResolvers, QueryResolvers, Scope } from '../generated/types.ts';
import { tokenHash } from '../platform/crypto.ts';
import { asUuid, idAt, isoOf } from '../platform/ids.ts';
import { checkedInput, name } from '../platform/input.ts';
import { Refusal, refuseUnlessEmpty } from '../platform/refusal.ts';
import { logNamed, namedLog } from '../tenants/tables.ts';
import { userById } from '../users/tables.ts';
import { API_KEY_PREFIX, type ApiKeyRow, apiKeys } from './tables.ts';

const KEY_BYTES = 32;
const HINT_CHARS = API_KEY_PREFIX.length + 4;
/** What a program may be let do: read the log, and write events of its own into it. */
const GRANTABLE = ['AUDIT_READ', 'AUDIT_VERIFY', 'AUDIT_EXPORT', 'SECURITY_READ', 'EVENTS_WRITE'] as const;

const creation = z.object({
  name,
  scopes: z
    .array(z.enum(GRANTABLE, { error: `must be among ${GRANTABLE.join(', ')}` }))
    .min(1, 'must name at least one'),
});

const API_KEY = entity<ApiKeyRow>()({
  resource: 'API_KEY',
  columns: {
    tenantId: 'OMIT',
    id: 'OMIT',
    name: 'TRACK',
    hash: 'SECRET',
    hint: 'OMIT',
    scopes: 'TRACK',
    createdBy: 'OMIT',
    createdAt: 'OMIT',
    expiresAt: 'TRACK',
    revokedAt: 'TRACK',
  },
  id: ({ id }) => id,
  tenantId: ({ tenantId }) => tenantId,
  label: (key) => key.name,
});

const createApiKey: Deed<'createApiKey'> = async (act, input) => {
  const { tx, actor, now } = act;
  const checked = checkedInput(creation, input);
  const { expiresAt = null } = input;
  refuseUnlessEmpty({
    ...(expiresAt !== null && expiresAt <= isoOf(now) ? { expiresAt: 'must be in the future' } : {}),
    ...(checked.scopes.every((scope) => holds(actor, scope))
      ? {}
      : { scopes: 'must not go beyond your own' }),
  });
  const tenantId = await logNamed(act, input.tenantId);
  const key = API_KEY_PREFIX + randomBytes(KEY_BYTES).toString('base64url');
  const [apiKey] = await tx
    .insert(apiKeys)
    .values({
      tenantId,
      id: idAt(now),
      name: checked.name,
      hash: tokenHash(key),
      hint: key.slice(0, HINT_CHARS),
      scopes: [...new Set<Scope>(checked.scopes)],
      createdBy: actor.type === 'USER' ? actor.id : null,
      createdAt: isoOf(now),
      expiresAt,
    })
    .returning();
  return act.done({ apiKey: apiKey!, key }, { of: API_KEY, after: apiKey! });
};

const revokeApiKey: Deed<'revokeApiKey'> = async (act, { id }) => {
  const uuid = asUuid(id);
  const own = confinedTo(act.actor);
  const inTenancy = own === undefined ? undefined : eq(apiKeys.tenantId, own);
  const [before] = uuid
    ? await act.tx
        .select()
        .from(apiKeys)
        .where(and(inTenancy, eq(apiKeys.id, uuid)))
        .for('update')
    : [];
  if (!before) throw new Refusal('API_KEY_NOT_FOUND');
  act.about(API_KEY, before);
  if (before.revokedAt !== null) throw new Refusal('STATE_UNCHANGED');
  const [after] = await act.tx
    .update(apiKeys)
    .set({ revokedAt: isoOf(act.now) })
    .where(and(eq(apiKeys.tenantId, before.tenantId), eq(apiKeys.id, before.id)))
    .returning();
  return act.done({ apiKey: after! }, { of: API_KEY, before, after: after! });
};

export const deeds = { createApiKey, revokeApiKey };

export const queries = {
  apiKeys: async (_root, { tenantId }, context) =>
    await context.read(async (scope) => {
      const log = await logNamed(scope, tenantId);
      return await scope.tx.select().from(apiKeys).where(eq(apiKeys.tenantId, log)).orderBy(desc(apiKeys.id));
    }),
} satisfies Partial<QueryResolvers>;

export const types = {
  ApiKey: {
    tenantId: ({ tenantId }) => namedLog(tenantId),
    createdBy: ({ createdBy }, _args, context) =>
      createdBy === null ? null : context.load(userById, createdBy),
  } satisfies Fields<ApiKey, ApiKeyRow, ApiKeyResolvers>,
};
