/**
 * The numbers of one server, for Prometheus. Every label has a bounded set of values: root fields and codes of the schema,
 * actions, routes; nothing that a client can make up.
 */
import { timingSafeEqual } from 'node:crypto';

import { MapperKind, mapSchema } from '@graphql-tools/utils';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { defaultFieldResolver, type GraphQLFieldConfig, type GraphQLSchema } from 'graphql';
import ipaddr from 'ipaddr.js';
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';

import type { Recorded } from '../audit/record.ts';
import type { Sealer } from '../audit/seal.ts';
import type { Feed } from '../feed/follow.ts';
import { presentedError } from '../graphql/errors.ts';
import { sha256 } from '../platform/crypto.ts';
import type { Database } from '../platform/db.ts';
import type { Passwords } from '../platform/passwords.ts';
import { spannedOperation } from '../platform/tracing.ts';
import type { Detector } from '../security/detector.ts';
import { bearerToken } from './request.ts';

/** From a look at the catalogue to a page of the log that waits for a password to be hashed. */
const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
/** A proxy on this machine is a loopback peer, too, but it speaks for somebody else. */
const FORWARDING = ['forwarded', 'x-forwarded-for', 'x-real-ip', 'via'];

export interface Metrics {
  /** Adds `/metrics`, and times what the application answers. */
  serve(app: FastifyInstance): void;
  /** The same schema, whose root fields are counted and are the names of operations' spans, on every transport. */
  watched(schema: GraphQLSchema): GraphQLSchema;
  /** Counts what was left on record. */
  recorded(what: Recorded): void;
}

export interface MetricsOptions {
  readonly db: Pick<Database, 'usage'>;
  readonly sealer: Pick<Sealer, 'progress'>;
  readonly feed: Pick<Feed, 'followers'>;
  readonly passwords: Pick<Passwords, 'waiting'>;
  readonly detector: Pick<Detector, 'lag'>;
  /** Who has it may read them. Without one only this machine may. */
  readonly token: string | undefined;
}

/** Opens the numbers of a server, in a registry of its own: several may run in one process. */
export function openMetrics(options: MetricsOptions): Metrics {
  const { db, sealer, feed, passwords, detector, token } = options;
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const fields = new Counter({
    name: 'custos_graphql_root_fields_total',
    help: 'Root fields that were resolved, by operation type, field, and OK or the code of the error.',
    labelNames: ['type', 'field', 'code'],
    registers,
  });
  const durations = new Histogram({
    name: 'custos_http_request_duration_seconds',
    help: 'HTTP requests answered, by method, route and status.',
    labelNames: ['method', 'route', 'status'],
    buckets: SECONDS,
    registers,
  });
  const mutations = new Counter({
    name: 'custos_mutations_total',
    help: 'Mutations, and work of Custos itself, that left a record, by SUCCESS or the reason of the refusal.',
    labelNames: ['mutation', 'outcome'],
    registers,
  });
  const records = new Counter({
    name: 'custos_records_total',
    help: 'Records written, by action and status.',
    labelNames: ['action', 'status'],
    registers,
  });
  const gauge = (name: string, help: string, read: () => number) =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(read());
      },
    });
  let sockets = 0;
  gauge('custos_sealer_lag_seconds', 'For how long a record may have waited for its position.', () => {
    return sealer.progress().lagMs / 1000;
  });
  gauge('custos_sealer_position', 'The next position in the log.', () => Number(sealer.progress().pos ?? 0));
  gauge('custos_detector_lag_records', 'Sealed records that have not been judged.', () =>
    Number(detector.lag()),
  );
  gauge('custos_feed_subscribers', 'Streams that follow the log.', feed.followers);
  gauge('custos_websocket_connections', 'Open WebSocket connections.', () => sockets);
  gauge('custos_database_connections_open', 'Connections to the database.', () => db.usage().open);
  gauge('custos_database_connections_busy', 'Those that are in a transaction.', () => db.usage().busy);
  gauge('custos_database_waiting', 'Transactions that wait for a connection.', () => db.usage().waiting);
  gauge('custos_passwords_waiting', 'Passwords that wait to be hashed.', passwords.waiting);

  return {
    serve(app) {
      app.addHook('onResponse', async ({ method, routeOptions }, reply) => {
        const route = routeOptions.url ?? 'none';
        durations.observe({ method, route, status: reply.statusCode }, reply.elapsedTime / 1000);
      });
      app.server.on('upgrade', (_request, socket) => {
        sockets++;
        socket.once('close', () => sockets--);
      });
      app.get('/metrics', { logLevel: 'warn' }, async (request, reply) => {
        void reply.header('cache-control', 'no-store').type('text/plain; charset=utf-8');
        if (mayRead(request, token))
          return await reply.type(registry.contentType).send(await registry.metrics());
        if (token === undefined) {
          return await reply
            .code(403)
            .send('Only this machine may read them; METRICS_TOKEN opens them to others.\n');
        }
        return await reply
          .code(401)
          .header('www-authenticate', 'Bearer')
          .send('Send METRICS_TOKEN as the bearer token.\n');
      });
    },

    watched(schema) {
      const count =
        (type: string, field: string) =>
        async <T>(work: () => Promise<T>): Promise<T> => {
          let code = 'OK';
          try {
            return await spannedOperation(type, field, work);
          } catch (cause) {
            code = String(presentedError(cause).extensions?.['code']);
            throw cause;
          } finally {
            fields.inc({ type, field, code });
          }
        };
      return mapSchema(schema, {
        [MapperKind.ROOT_FIELD]: (field, name, typeName) =>
          within(count(typeName.toLowerCase(), name), field),
      });
    },

    recorded({ by, failure, records: left }) {
      mutations.inc({ mutation: by, outcome: failure ?? 'SUCCESS' });
      const status = failure === null ? 'SUCCESS' : failure === 'INTERNAL' ? 'ERROR' : 'FAILURE';
      for (const { action } of left) records.inc({ action, status });
    },
  };
}

type Field = GraphQLFieldConfig<unknown, unknown>;
type Around = <T>(work: () => Promise<T>) => Promise<T>;

/** A subscription counts when it begins, everything else when it is resolved. */
function within(around: Around, field: Field): Field {
  const { resolve = defaultFieldResolver, subscribe } = field;
  if (subscribe) return { ...field, subscribe: (...call) => around(async () => await subscribe(...call)) };
  return { ...field, resolve: (...call) => around(async (): Promise<unknown> => await resolve(...call)) };
}

function mayRead({ headers, raw }: FastifyRequest, token: string | undefined): boolean {
  if (token !== undefined) return isSame(bearerToken(headers.authorization) ?? '', token);
  const peer = raw.socket.remoteAddress ?? '';
  const own = ipaddr.isValid(peer) && ipaddr.process(peer).range() === 'loopback';
  return own && !FORWARDING.some((header) => header in headers);
}

/** In a time that does not tell how much of it is right. */
function isSame(given: string, expected: string): boolean {
  return timingSafeEqual(sha256(given), sha256(expected));
}
