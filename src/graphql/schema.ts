import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { makeExecutableSchema } from '@graphql-tools/schema';
import type { GraphQLSchema } from 'graphql';

import * as erasure from '../archive/erasure.ts';
import * as exports from '../archive/exports.ts';
import * as legalHolds from '../archive/holds.ts';
import * as retention from '../archive/retention.ts';
import * as apiKeys from '../delivery/apiKeys.ts';
import * as eventTypes from '../delivery/eventTypes.ts';
import * as ingest from '../delivery/ingest.ts';
import * as webhooks from '../delivery/webhooks.ts';
import { type Context, type Deeds, holds } from '../audit/act.ts';
import * as auth from '../auth/resolvers.ts';
import type { QueryResolvers, Resolvers, SubscriptionResolvers } from '../generated/types.ts';
import * as activity from '../security/activity.ts';
import * as auditLogs from '../security/auditLogs.ts';
import * as catalogue from '../security/catalogue.ts';
import * as events from '../security/events.ts';
import * as history from '../security/history.ts';
import * as ledger from '../security/ledger.ts';
import * as reads from '../security/reads.ts';
import * as statistics from '../security/statistics.ts';
import * as tenants from '../tenants/resolvers.ts';
import * as users from '../users/resolvers.ts';
import { withDirectives } from './directives.ts';
import { scalars } from './scalars.ts';

const SDL = new URL('../../schema/', import.meta.url);

const deeds: Deeds = {
  ...auth.deeds,
  ...tenants.deeds,
  ...users.deeds,
  ...events.deeds,
  ...exports.deeds,
  ...legalHolds.deeds,
  ...retention.deeds,
  ...erasure.deeds,
  ...webhooks.deeds,
  ...apiKeys.deeds,
  ...eventTypes.deeds,
  ...ingest.deeds,
};

const Query: Required<Omit<QueryResolvers, '__isTypeOf'>> = {
  ...auth.queries,
  ...tenants.queries,
  ...users.queries,
  ...auditLogs.queries,
  ...history.queries,
  ...ledger.queries,
  ...catalogue.queries,
  ...activity.queries,
  ...statistics.queries,
  ...events.queries,
  ...exports.queries,
  ...legalHolds.queries,
  ...reads.queries,
  ...retention.queries,
  ...webhooks.queries,
  ...apiKeys.queries,
  ...eventTypes.queries,
  node: async (_root, { id }, context) => {
    const user = await users.visibleUser(context, id);
    if (user) return { __typename: 'User' as const, ...user };
    const tenant = await tenants.visibleTenant(context, id);
    if (tenant) return { __typename: 'Tenant' as const, ...tenant };
    const branch = await tenants.visibleBranch(context, id);
    if (branch) return { __typename: 'Branch' as const, ...branch };
    const session = await auth.visibleSession(context, id);
    if (session) return { __typename: 'Session' as const, ...session };
    const record = readsTheLog(context) ? await auditLogs.visibleRecord(context, id) : null;
    if (record) await context.noteRead({ kind: 'QUERY', query: 'node', args: { id } });
    if (record) return { __typename: 'AuditLog' as const, ...record };
    const event = seesEvents(context) ? await events.visibleEvent(context, id) : null;
    if (event) await context.noteRead({ kind: 'QUERY', query: 'node', args: { id } });
    return event && { __typename: 'SecurityEvent' as const, ...event };
  },
};

function readsTheLog({ actor }: Context): boolean {
  return holds(actor, 'AUDIT_READ');
}

function seesEvents({ actor }: Context): boolean {
  return holds(actor, 'SECURITY_READ_OWN');
}

const Subscription: Required<Omit<SubscriptionResolvers, '__isTypeOf'>> = {
  ...events.subscriptions,
  ...exports.subscriptions,
};

/** The schema of schema/*.graphql, with its resolvers and its directives made real. */
export function openSchema(): GraphQLSchema {
  const resolvers: Resolvers = {
    ...scalars,
    ...auth.types,
    ...tenants.types,
    ...users.types,
    ...auditLogs.types,
    ...ledger.types,
    ...catalogue.types,
    ...activity.types,
    ...statistics.types,
    ...events.types,
    ...exports.types,
    ...legalHolds.types,
    ...reads.types,
    ...retention.types,
    ...webhooks.types,
    ...apiKeys.types,
    ...eventTypes.types,
    Query,
    Subscription,
  };
  const schema = makeExecutableSchema<Context>({ typeDefs: readSdl(), resolvers });
  return withDirectives(schema, deeds);
}

/** The SDL, one text a room. */
function readSdl(): string[] {
  const files = readdirSync(fileURLToPath(SDL)).filter((file) => file.endsWith('.graphql'));
  return files.sort().map((file) => readFileSync(new URL(file, SDL), 'utf8'));
}
