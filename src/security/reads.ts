/** Who read the log, over the API. */
import { and, desc, eq, lt } from 'drizzle-orm';

import type { Fields } from '../audit/act.ts';
import { type AuditReadRow, auditReads } from '../audit/tables.ts';
import type { AuditRead, AuditReadResolvers, QueryResolvers } from '../generated/types.ts';
import { asUuid } from '../platform/ids.ts';
import { refuseUnlessEmpty } from '../platform/refusal.ts';
import { logNamed, namedLog } from '../tenants/tables.ts';
import { userById } from '../users/tables.ts';

const READS_MAX = 500;

export const queries = {
  auditReads: async (_root, { tenantId, readerId, first, before }, context) => {
    refuseUnlessEmpty(first < 1 || first > READS_MAX ? { first: `must be from 1 to ${READS_MAX}` } : {});
    const [reader, newest] = [readerId, before].map((id) =>
      typeof id === 'string' ? asUuid(id) : undefined,
    );
    if ((readerId && !reader) || (before && !newest)) return [];
    return await context.read(async (scope) => {
      const log = await logNamed(scope, tenantId);
      return await scope.tx
        .select()
        .from(auditReads)
        .where(
          and(
            eq(auditReads.tenantId, log),
            reader ? eq(auditReads.readerId, reader) : undefined,
            newest ? lt(auditReads.id, newest) : undefined,
          ),
        )
        .orderBy(desc(auditReads.id))
        .limit(first);
    });
  },
} satisfies Partial<QueryResolvers>;

export const types = {
  AuditRead: {
    tenantId: ({ tenantId }) => namedLog(tenantId),
    reader: ({ readerType, readerId }, _args, context) =>
      readerType === 'USER' ? context.load(userById, readerId) : null,
  } satisfies Fields<AuditRead, AuditReadRow, AuditReadResolvers>,
};
