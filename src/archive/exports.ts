/** Exports over the API: ordering one, looking after it, and the link to its file. */
import { setTimeout as pause } from 'node:timers/promises';

import { and, desc, eq, gt } from 'drizzle-orm';

import { confinedTo, type Context, type Deed, type Fields, type Scope } from '../audit/act.ts';
import { entity } from '../audit/entity.ts';
import { conditionOf, having } from '../audit/filter.ts';
import { endOf } from '../feed/order.ts';
import { pulled } from '../feed/pulled.ts';
import type {
  AuditExport,
  AuditExportResolvers,
  QueryResolvers,
  SubscriptionResolvers,
} from '../generated/types.ts';
import { asUuid, idAt, isoOf } from '../platform/ids.ts';
import { Refusal } from '../platform/refusal.ts';
import { logNamed, namedLog } from '../tenants/tables.ts';
import { userById } from '../users/tables.ts';
import { EXPORTS } from './exportJob.ts';
import { issueLink } from './links.ts';
import { type AuditExportRow, auditExports } from './tables.ts';

const KEPT_MICROS = 24n * 3_600_000_000n;
const LISTED_MAX = 100;
const PROGRESS_MS = 500;

const AUDIT_EXPORT = entity<AuditExportRow>()({
  resource: 'AUDIT_EXPORT',
  columns: {
    tenantId: 'OMIT',
    id: 'OMIT',
    requestedBy: 'OMIT',
    format: 'TRACK',
    // Its text may name somebody.
    filter: 'PII',
    condition: 'OMIT',
    state: 'OMIT',
    nextSeq: 'OMIT',
    endSeq: 'OMIT',
    rows: 'OMIT',
    bytes: 'OMIT',
    firstPosition: 'OMIT',
    lastPosition: 'OMIT',
    manifest: 'OMIT',
    error: 'OMIT',
    createdAt: 'OMIT',
    finishedAt: 'OMIT',
    expiresAt: 'OMIT',
  },
  id: ({ id }) => id,
  tenantId: ({ tenantId }) => tenantId,
  label: () => null,
  subject: ({ id, requestedBy }) => requestedBy ?? id,
});

const createAuditExport: Deed<'createAuditExport'> = async (act, { tenantId, format, filter }) => {
  const { tx, actor, now, services } = act;
  const log = await logNamed(act, tenantId);
  const row: AuditExportRow = {
    tenantId: log,
    id: idAt(now),
    requestedBy: actor.type === 'USER' ? actor.id : null,
    format,
    filter: filter ?? null,
    condition: { all: [having('tenantId', log), conditionOf(filter)] },
    state: 'QUEUED',
    nextSeq: 0n,
    endSeq: await endOf(tx, log),
    rows: 0n,
    bytes: 0n,
    firstPosition: null,
    lastPosition: null,
    manifest: null,
    error: null,
    createdAt: isoOf(now),
    finishedAt: null,
    expiresAt: isoOf(now + KEPT_MICROS),
  };
  await tx.insert(auditExports).values(row);
  await services.jobs.enqueue(tx, EXPORTS, { tenantId: log, exportId: row.id });
  act.afterwards(async () => services.jobs.nudge(EXPORTS));
  return act.done({ auditExport: row }, { of: AUDIT_EXPORT, after: row });
};

export const deeds = { createAuditExport };

export const queries = {
  auditExport: async (_root, { id }, context) => (await context.read((scope) => exportOf(scope, id))) ?? null,
  auditExports: async (_root, { tenantId }, context) =>
    await context.read(async (scope) => {
      const log = await logNamed(scope, tenantId);
      return await scope.tx
        .select()
        .from(auditExports)
        .where(and(eq(auditExports.tenantId, log), unexpired(scope)))
        .orderBy(desc(auditExports.id))
        .limit(LISTED_MAX);
    }),
} satisfies Partial<QueryResolvers>;

export const subscriptions = {
  auditExportProgressed: {
    subscribe: (_root, { id }, context) => progressOf(context, id),
    resolve: (row: AuditExportRow) => row,
  },
} satisfies Partial<SubscriptionResolvers>;

export const types = {
  AuditExport: {
    tenantId: ({ tenantId }) => namedLog(tenantId),
    progress: ({ state, nextSeq, endSeq }) =>
      state === 'DONE' || endSeq === 0n ? Number(state === 'DONE') : Number(nextSeq) / Number(endSeq),
    requestedBy: ({ requestedBy }, _args, context) =>
      requestedBy === null ? null : context.load(userById, requestedBy),
    downloadUrl: ({ tenantId, id, state }, _args, { actor, services }) => {
      if (state !== 'DONE' || actor.type !== 'USER') return null;
      const link = issueLink(services, { tenantId, exportId: id, sessionId: actor.sessionId });
      return `${services.publicUrl}/exports/${id}?link=${link}`;
    },
  } satisfies Fields<AuditExport, AuditExportRow, AuditExportResolvers>,
};

/** The export as the caller may see it; undefined if there is none. */
export async function exportOf(scope: Scope, id: string): Promise<AuditExportRow | undefined> {
  const uuid = asUuid(id);
  const own = confinedTo(scope.actor);
  if (uuid === undefined) return undefined;
  const [row] = await scope.tx
    .select()
    .from(auditExports)
    .where(
      and(
        eq(auditExports.id, uuid),
        own === undefined ? undefined : eq(auditExports.tenantId, own),
        unexpired(scope),
      ),
    );
  return row;
}

function unexpired({ now }: Pick<Scope, 'now'>) {
  return gt(auditExports.expiresAt, isoOf(now));
}

/** The export whenever it has come further, until it is over. */
function progressOf(context: Context, id: string): AsyncIterableIterator<AuditExportRow> {
  let last: AuditExportRow | undefined;
  let gone = false;
  const steps = pulled(
    async () => {
      for (;;) {
        const row = await context.lookAgain((scope) => exportOf(scope, id));
        if (!row) throw new Refusal('AUDIT_EXPORT_NOT_FOUND');
        if (gone || last === undefined || row.nextSeq !== last.nextSeq || row.state !== last.state)
          return (last = row);
        await pause(PROGRESS_MS);
      }
    },
    () => {
      gone = true;
    },
  );
  const isOver = () => last?.state === 'DONE' || last?.state === 'FAILED';
  return {
    next: () => (isOver() ? steps.return!() : steps.next()),
    return: () => steps.return!(),
    throw: (cause: unknown) => steps.throw!(cause),
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}
