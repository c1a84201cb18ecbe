import { type Context, type Fields, holds } from '../audit/act.ts';
import { kindsIn, lastSeenIn, type Span } from '../audit/statistics.ts';
import { AUDIT_CATALOGUE } from '../generated/catalogue.ts';
import type {
  AuditAction,
  AuditActionInfo,
  AuditActionInfoResolvers,
  QueryResolvers,
} from '../generated/types.ts';
import { countOf, DAY_MICROS, spanOf } from './statistics.ts';

const FACTS = Object.entries(AUDIT_CATALOGUE) as [AuditAction, (typeof AUDIT_CATALOGUE)[AuditAction]][];

/** @public The facts of an action, and the log they are looked up in; the mapper of AuditActionInfo, named in codegen.ts. */
export interface CatalogueEntry extends Omit<AuditActionInfo, 'lastSeenAt' | 'count30d'> {
  /** Null for those who may not read the log. */
  readonly log: { readonly ever: Span; readonly recently: Span } | null;
}

export const queries = {
  auditActionCatalog: async (_root, _args, context) => {
    const log = await logOf(context);
    return FACTS.map(([action, facts]) => ({ action, ...facts, log }));
  },
} satisfies Partial<QueryResolvers>;

async function logOf(context: Context): Promise<CatalogueEntry['log']> {
  if (!holds(context.actor, 'AUDIT_READ')) return null;
  const now = context.services.clock.now();
  const ever = await spanOf(context, undefined, 0n, now);
  return { ever, recently: { ...ever, from: now - 30n * DAY_MICROS } };
}

export const types = {
  // One span for all entries, so one statement.
  AuditActionInfo: {
    lastSeenAt: async ({ log, key }, _args, context) =>
      log && ((await context.load(lastSeenIn, log.ever)).get(key) ?? null),
    count30d: async ({ log, key }, _args, context) =>
      log && countOf((await context.load(kindsIn, log.recently)).filter(({ action }) => action === key)),
  } satisfies Fields<AuditActionInfo, CatalogueEntry, AuditActionInfoResolvers>,
};
