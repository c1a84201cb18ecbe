import { confinedTo, type Context, type Fields } from '../audit/act.ts';
import { conditionOf, havingId } from '../audit/filter.ts';
import { after, knowPersonal, personalIn, positionIn } from '../audit/known.ts';
import { type LargeColumn, type LogPage, pageOfLog } from '../audit/query.ts';
import { rendered } from '../audit/formats.ts';
import { shownChange, shownDetails, shownRecord } from '../audit/shown.ts';
import { type AuditLogRow, PLATFORM_TENANT, SEVERITIES } from '../audit/tables.ts';
import { feedPage } from '../feed/page.ts';
import { AUDIT_CATALOGUE } from '../generated/catalogue.ts';
import type {
  AuditLog,
  AuditLogConnectionResolvers,
  AuditLogResolvers,
  AuditResource,
  AuditStatus,
  QueryResolvers,
} from '../generated/types.ts';
import { connection, sizeOf } from '../platform/page.ts';
import { Refusal } from '../platform/refusal.ts';
import { tenantById } from '../tenants/tables.ts';
import { userById } from '../users/tables.ts';
import { actionOf } from '../audit/actions.ts';
import { facets, histogram } from './distribution.ts';
import { proof } from './ledger.ts';
import { within } from './reach.ts';
import { selectedBelow } from './selected.ts';

/** The large columns that fields are answered from. */
const LARGE_BEHIND: { readonly [Field in keyof AuditLog]?: readonly LargeColumn[] } = {
  actor: ['pii'],
  resourceName: ['pii'],
  details: ['details', 'pii'],
  changes: ['changes', 'pii'],
  userAgent: ['userAgent'],
  context: ['context'],
  // Of the whole record.
  rendered: ['userAgent', 'context', 'details', 'changes', 'pii'],
  proof: ['userAgent', 'context', 'details', 'changes', 'pii', 'leafHash'],
};
const COUNT_MAX = 1_000_000;

export const queries = {
  auditLog: (_root, { id }, context) => visibleRecord(context, id),

  auditLogs: async (_root, { filter, orderBy, ...page }, context, info) => {
    const condition = await within(context, conditionOf(filter));
    const large = Object.entries(LARGE_BEHIND).flatMap(([field, columns]) =>
      selectedBelow(info).has(field) ? columns : [],
    );
    const found = await pageOfLog(context, condition, page, { direction: orderBy?.direction, large });
    if (large.includes('pii')) await knowPersonal(context, found.rows);
    return found;
  },

  auditFeed: async (_root, { filter, after, first, from }, context) => {
    const tenantId = confinedTo(context.actor);
    const condition = await within(context, conditionOf(filter));
    const { size } = sizeOf({ first });
    const page = await context.read(({ tx }) =>
      feedPage(tx, { tenantId, condition, after, from, first: size }),
    );
    return { ...page, nodes: page.edges.map(({ node }) => node) };
  },
} satisfies Partial<QueryResolvers>;

/** A record the caller may see, if it may read the log. */
export async function visibleRecord(context: Context, id: string): Promise<AuditLogRow | null> {
  const { rows } = await pageOfLog(context, await within(context, havingId('id', id)), { first: 1 });
  return rows[0] ?? null;
}

export const types = {
  AuditLog: {
    position: (row, _args, context) => positionIn(context, row),
    proof,
    action: actionOf,
    actionKey: (row) => row.action,
    category: (row) => AUDIT_CATALOGUE[actionOf(row)].category,
    resource: (row) => row.resource as AuditResource,
    severity: (row) => SEVERITIES[row.severity]!,
    status: (row) => row.status.toUpperCase() as AuditStatus,
    failure: (row) => {
      if (row.failure === null) return null;
      const { code, reason, message } = new Refusal(row.failure);
      return { code, reason, message };
    },
    user: (row, _args, context) => (row.userId === null ? null : context.load(userById, row.userId)),
    actor: (row, _args, context) =>
      after(personalIn(context, row), ({ actor }) => {
        const { type, role, sessionId, apiKeyId, apiKeyName, system } = row.actor;
        return {
          type,
          id: row.userId ?? apiKeyId ?? null,
          email: actor?.email ?? null,
          name: actor?.name ?? apiKeyName ?? system ?? null,
          role: role ?? null,
          sessionId: sessionId ?? null,
        };
      }),
    tenantId: (row) => (row.tenantId === PLATFORM_TENANT ? null : row.tenantId),
    tenant: (row, _args, context) =>
      row.tenantId === PLATFORM_TENANT ? null : context.load(tenantById, row.tenantId),
    resourceName: (row, _args, context) =>
      row.resourceName ?? after(personalIn(context, row), ({ resourceName = null }) => resourceName),
    details: (row, _args, context) =>
      after(personalIn(context, row), (personal) => shownDetails(row, personal)),
    changes: (row, _args, context) =>
      after(personalIn(context, row), (personal) =>
        row.changes.map((change) => shownChange(change, personal)),
      ),
    rendered: async (row, { format }, context) => {
      const [position, personal] = await Promise.all([positionIn(context, row), personalIn(context, row)]);
      return rendered(shownRecord(row, position, personal), format);
    },
    context: ({ context: { transport, operationName, fieldPath, documentHash, forwardedFor } }) => ({
      transport,
      operationName: operationName ?? null,
      fieldPath: fieldPath ?? null,
      documentHash: documentHash ?? null,
      forwardedFor: forwardedFor ?? null,
    }),
  } satisfies Fields<AuditLog, AuditLogRow, AuditLogResolvers>,

  AuditLogConnection: {
    ...connection,
    histogram,
    facets,
    countUpTo: (page: LogPage, { max }) => {
      if (max < 1 || max > COUNT_MAX) {
        throw new Refusal('INVALID_INPUT', { fields: { max: `must be from 1 to ${COUNT_MAX}` } });
      }
      return page.countUpTo(max);
    },
  } satisfies AuditLogConnectionResolvers,
};
