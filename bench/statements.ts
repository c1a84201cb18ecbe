import { graphql } from 'graphql';
import postgres from 'postgres';

import { actorOf } from '../src/auth/principal.ts';
import { openFeed } from '../src/feed/follow.ts';
import { openFoundation, openParts } from '../src/foundation.ts';
import { openContext } from '../src/graphql/context.ts';
import { openSchema } from '../src/graphql/schema.ts';
import type { Database, ReadTx, Tenancy } from '../src/platform/db.ts';
import { openLog } from '../src/platform/log.ts';
import { readSettings } from '../src/platform/settings.ts';

/** A GraphQL operation. */
export interface Operation {
  readonly query: string;
  readonly variables?: Readonly<Record<string, unknown>>;
}

interface Statement {
  readonly tenancy: Tenancy;
  readonly text: string;
  readonly parameters: readonly unknown[];
}

/** The SQL that operations are answered with, without the API around it. */
export interface BareSql {
  /**
   * Answers the operation once, noting each statement its resolvers send, and gives back what sends those again. They go
   * through postgres.js, prepared, as the application role under row-level security, one after the other on one connection
   * without a transaction; rows arrive as objects, and nothing is decrypted.
   */
  of(operation: Operation, token: string): Promise<() => Promise<void>>;
  stop(): Promise<void>;
}

/** Opens the application without its server, and connections beside it. */
export async function openBareSql(
  env: Readonly<Record<string, string>>,
  databaseUrl: string,
): Promise<BareSql> {
  const log = openLog({ level: 'error' });
  const parts = openParts(log);
  const foundation = await openFoundation({ settings: readSettings(env), log, parts, publicUrl: () => '' });
  const { db, services } = foundation;
  const feed = parts.opened(openFeed({ db, log }));
  const schema = openSchema();
  const connections = new Map<string, postgres.Sql>();

  const connectionOf = (tenancy: Tenancy): postgres.Sql => {
    const tenantId = tenancy === 'PLATFORM' ? '' : tenancy.tenantId;
    const known = connections.get(tenantId);
    if (known) return known;
    const scope = tenantId === '' ? 'platform' : 'tenant';
    const sql = postgres(databaseUrl, {
      max: 1,
      connection: {
        role: 'custos_app',
        'app.tenant': tenantId,
        'app.scope': scope,
        random_page_cost: 1.1,
      },
    });
    // As text, as the application sends them: the driver would encode a JSON text again.
    sql.options.serializers = {};
    connections.set(tenantId, sql);
    return sql;
  };

  return {
    async of({ query, variables }, token) {
      const statements: Statement[] = [];
      const actor = await actorOf(db, services, token);
      const request = {
        id: 'bench',
        transport: 'HTTP',
        ipAddress: null,
        userAgent: null,
        forwardedFor: null,
      } as const;
      const house = { db: noting(db, statements), services, feed, recorded: () => {}, sealerLagMs: () => 0 };
      const context = await openContext(house, { request, authenticate: async () => actor });
      const { errors } = await graphql({
        schema,
        source: query,
        variableValues: variables ?? null,
        contextValue: context,
      });
      await context.settle();
      if (errors) throw new Error(errors.join('\n'));
      if (statements.length === 0) throw new Error('The operation sent no statement.');
      return async () => {
        for (const { tenancy, text, parameters } of statements) {
          const sql = connectionOf(tenancy);
          const isSetting = text.startsWith('select set_config');
          // What is set for a transaction would be gone with it; nobody waits for the answer in the application either.
          const sent = isSetting ? text.replaceAll(', true)', ', false)') : text;
          const answer = sql.unsafe(sent, parameters.map(asText), { prepare: true }).execute();
          if (!isSetting) await answer;
        }
      };
    },
    async stop() {
      await Promise.all([...connections.values()].map((sql) => sql.end()));
      await parts.stop();
    },
  };
}

/** The door, with each statement that is read through it noted. */
function noting(db: Database, statements: Statement[]): Database {
  return {
    ...db,
    withReadTx: (tenancy, work, options) =>
      db.withReadTx(
        tenancy,
        (tx) => {
          const { $client: client } = tx as ReadTx & {
            $client: { unsafe: (...call: [string, unknown[]?]) => unknown };
          };
          const send = client.unsafe;
          client.unsafe = (text, parameters = []) => {
            statements.push({ tenancy, text, parameters });
            return send(text, parameters);
          };
          return work(tx);
        },
        options,
      ),
  };
}

function asText(value: unknown): string | null {
  if (value === null || typeof value === 'string') return value;
  if (value instanceof Uint8Array) return `\\x${Buffer.from(value).toString('hex')}`;
  return JSON.stringify(value, (_, part: unknown) => (typeof part === 'bigint' ? Number(part) : part));
}
