/** The design Custos replaces, in its own words: one heap table, pages by offset, a count with every page, a plain Apollo Server. */
import { ApolloServer } from '@apollo/server';
import { startStandaloneServer } from '@apollo/server/standalone';
import postgres from 'postgres';

import { post } from './client.ts';
import { FIELDS, type Neighbour, type Subject } from './questions.ts';

const SCHEMA = 'original';
const SINGLE = ['tenant_id', 'user_id', 'action', 'resource', 'status', 'ip_address', 'request_id'];
const WITH_TIME = ['tenant_id', 'user_id', 'action', 'resource', 'status'];
const TYPES = `
  scalar JSON
  type AuditLog { id: ID! tenantId: ID! userId: ID action: String! resource: String! resourceId: ID status: String!
    changes: JSON metadata: JSON ipAddress: String userAgent: String requestId: String errorMessage: String severity: Int! createdAt: String! }
  type AuditLogPage { nodes: [AuditLog!]! total: Int! hasMore: Boolean! }
  type Query { auditLogs(tenantId: ID!, userId: ID, action: String, limit: Int! = 50, offset: Int! = 0): AuditLogPage! }`;

/** Copies the seeded log into that table and builds its twelve indexes, unless that is done. */
export async function copyIntoOriginal(sql: postgres.Sql): Promise<void> {
  const [there] = await sql`select from pg_tables where schemaname = ${SCHEMA}`;
  if (there) return;
  await sql.begin(async (tx) => {
    await tx.unsafe(`set local maintenance_work_mem = '1GB';
        create schema ${SCHEMA};
        create table ${SCHEMA}.audit_logs as
          -- Its ids are UUIDv4: they say nothing of time.
          select gen_random_uuid() as id, tenant_id, user_id, action, resource, resource_id, status, changes, details as metadata,
            ip_address, user_agent, request_id, failure as error_message, severity, created_at
          from public.audit_logs order by public.audit_logs.id;
        alter table ${SCHEMA}.audit_logs add primary key (id);
        ${SINGLE.map((column) => `create index on ${SCHEMA}.audit_logs (${column});`).join('\n')}
        ${WITH_TIME.map((column) => `create index on ${SCHEMA}.audit_logs (${column}, created_at);`).join('\n')}
        grant usage on schema ${SCHEMA} to custos_app;
        grant select on ${SCHEMA}.audit_logs to custos_app;`);
  });
  await sql.unsafe(`vacuum analyze ${SCHEMA}.audit_logs`);
}

interface PageArguments {
  readonly tenantId: string;
  readonly userId?: string;
  readonly action?: string;
  readonly limit: number;
  readonly offset: number;
}

/** Serves it without authentication. Returns its address. */
export async function serveOriginal(
  databaseUrl: string,
): Promise<{ url: string; stop: () => Promise<void> }> {
  const sql = postgres(databaseUrl, { max: 10 });
  const auditLogs = async (_root: unknown, { tenantId, userId, action, limit, offset }: PageArguments) => {
    const wanted = sql`from original.audit_logs where tenant_id = ${tenantId}
      ${userId === undefined ? sql`` : sql`and user_id = ${userId}`} ${action === undefined ? sql`` : sql`and action = ${action}`}`;
    const [nodes, [counted]] = await Promise.all([
      sql`select id, tenant_id as "tenantId", user_id as "userId", action, resource, resource_id as "resourceId", status, changes,
        metadata, host(ip_address) as "ipAddress", user_agent as "userAgent", request_id as "requestId",
        error_message as "errorMessage", severity, to_json(created_at) #>> '{}' as "createdAt"
        ${wanted} order by created_at desc limit ${limit} offset ${offset}`,
      sql<{ total: number }[]>`select count(*)::int as total ${wanted}`,
    ]);
    return { nodes, total: counted!.total, hasMore: offset + nodes.length < counted!.total };
  };
  const server = new ApolloServer({ typeDefs: TYPES, resolvers: { Query: { auditLogs } } });
  const { url } = await startStandaloneServer(server, { listen: { host: '127.0.0.1', port: 0 } });
  return {
    url: url.replace(/\/$/, ''),
    async stop() {
      await server.stop();
      await sql.end();
    },
  };
}

/** Each of its pages counts the whole. */
export function askOriginal(url: string, { tenantId, userId, action, depth }: Subject): Neighbour {
  const page =
    (variables: object, nodes = `nodes { ${FIELDS} }`) =>
    () =>
      post(
        url,
        undefined,
        {
          query: `query Page($tenantId: ID!, $userId: ID, $action: String, $offset: Int, $limit: Int) {
        auditLogs(tenantId: $tenantId, userId: $userId, action: $action, offset: $offset, limit: $limit) { ${nodes} total hasMore } }`,
          variables: { tenantId, limit: 50, offset: 0, ...variables },
        },
        { path: '/' },
      );
  return {
    name: 'original',
    ask: {
      'page of 50': page({}),
      'page of 50 and the total': page({}),
      'page 1,000': page({ offset: depth }),
      'of a user': page({ userId }),
      'a rare action': page({ action }),
      'total count': page({ limit: 1 }, ''),
    },
  };
}
