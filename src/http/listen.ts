/** The server's edge: /graphql over HTTP and WebSocket, the explorer, the keys access tokens are checked with. */
import { constants } from 'node:zlib';

import { ApolloServer, type ApolloServerPlugin } from '@apollo/server';
import {
  ApolloServerPluginCacheControlDisabled,
  ApolloServerPluginLandingPageDisabled,
} from '@apollo/server/plugin/disabled';
import { fastifyApolloDrainPlugin, fastifyApolloHandler } from '@as-integrations/fastify';
import compress, { type FastifyCompressOptions } from '@fastify/compress';
import Fastify, { type FastifyInstance, LogController } from 'fastify';
import type { GraphQLError, GraphQLSchema } from 'graphql';

import { actorOf } from '../auth/principal.ts';
import { type House, openContext, type OperationContext } from '../graphql/context.ts';
import { isInternal, presentedError, withoutRepetition } from '../graphql/errors.ts';
import {
  assertAllowed,
  type Introspection,
  LIMIT_RULES,
  mayHearSuggestions,
  maySeeSchema,
  PARSE_OPTIONS,
  withoutSuggestions,
} from '../graphql/limits.ts';
import type { TrustedDocuments } from '../graphql/trustedDocuments.ts';
import { SettingsError } from '../platform/settings.ts';
import { systemCode } from '../platform/systemError.ts';
import { spannedFrom } from '../platform/tracing.ts';
import { parseTrustedProxies } from './address.ts';
import { openConnectionLimit } from './connectionLimit.ts';
import { serveEvents } from './events.ts';
import { serveExports } from './exports.ts';
import { serveExplorer } from './explorer.ts';
import { faultBody, hardened } from './hardened.ts';
import { serveLedger } from './ledger.ts';
import { crossSiteFault, openOrigins } from './origin.ts';
import { bearerToken, requestFacts, requestIdOf } from './request.ts';
import { serveSchemaFile } from './schemaFile.ts';
import { openSocket } from './socket.ts';
import { withTrustedText } from './trusted.ts';

const BODY_BYTES_MAX = 1024 * 1024;
/** For a whole request to arrive. */
const REQUEST_MS_MAX = 30_000;
const HEADERS_MS_MAX = 10_000;
const IDLE_MS_MAX = 72_000;
/** For a request to be answered: several transactions of five seconds at most. */
const ANSWER_MS_MAX = 30_000;

/** Answers of this API hold no cookie's secret beside what a page of another site could put in (BREACH): tokens are not sent by themselves. */
const COMPRESSION: FastifyCompressOptions = {
  global: false,
  threshold: 2_048,
  encodings: ['br', 'gzip'],
  // The usual quality, 11, is for files that are compressed once.
  brotliOptions: { params: { [constants.BROTLI_PARAM_QUALITY]: 4 } },
};

export interface ListenOptions {
  readonly house: House;
  readonly schema: GraphQLSchema;
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  /** Networks whose forwarding headers are believed. */
  readonly trustedProxies: readonly string[];
  /** Where users reach it, if that is known. */
  readonly publicUrl?: string | undefined;
  /** Web origins besides its own whose pages may call it. */
  readonly corsOrigins?: readonly string[];
  /** Default: everybody. */
  readonly introspection?: Introspection;
  /** Default: any document is carried out. */
  readonly documents?: TrustedDocuments | undefined;
  /** See SocketOptions. */
  readonly stuckMsMax?: number;
  /** What has routes of its own besides. */
  readonly alsoServe?: readonly { serve(app: FastifyInstance): void }[];
}

/** A server that listens. */
export interface Listening {
  /** Where, such as `http://127.0.0.1:4000`. */
  readonly url: string;
  /** Lets requests in flight finish and closes sockets with 1001. */
  stop(): Promise<void>;
}

/** Starts to listen. */
export async function listen({
  house,
  schema,
  host,
  port,
  trustedProxies,
  publicUrl,
  corsOrigins = [],
  introspection = 'PUBLIC',
  documents,
  stuckMsMax,
  alsoServe = [],
}: ListenOptions): Promise<Listening> {
  const trusted = parseTrustedProxies(trustedProxies);
  const app = Fastify({
    loggerInstance: house.services.log,
    genReqId: requestIdOf,
    logController: new LogController({ requestIdLogLabel: 'requestId', disableRequestLogging: true }),
    bodyLimit: BODY_BYTES_MAX,
    requestTimeout: REQUEST_MS_MAX,
    handlerTimeout: ANSWER_MS_MAX,
    http: { headersTimeout: HEADERS_MS_MAX },
    // Longer than load balancers keep a connection, so that it is they who close one.
    keepAliveTimeout: IDLE_MS_MAX,
  }) as unknown as FastifyInstance;
  const origins = openOrigins([...corsOrigins, ...(publicUrl ? [publicUrl] : [])]);
  app.addHook('onRequest', async (request, reply) => {
    void reply.header('x-request-id', request.id);
  });
  // Once it is asked to stop: a connection kept alive after an answer would be waited for.
  let stopping = false;
  app.addHook('onSend', async (_request, reply) => {
    if (stopping) void reply.header('connection', 'close');
  });
  app.addHook('onResponse', async (request, reply) => {
    request.log.info(
      { method: request.method, url: pathOf(request.url), status: reply.statusCode },
      'request',
    );
  });

  await hardened(app, { corsOrigins, isSecure: publicUrl?.startsWith('https:') ?? false });

  const limit = openConnectionLimit(trusted);
  const socket = openSocket({
    house,
    schema,
    trusted,
    origins,
    introspection,
    documents,
    server: app.server,
    limit,
    stuckMsMax,
  });
  const apollo = new ApolloServer<OperationContext>({
    schema,
    includeStacktraceInErrorResponses: false,
    introspection: true,
    persistedQueries: false,
    // In its place stands crossSiteFault.
    csrfPrevention: false,
    parseOptions: PARSE_OPTIONS,
    validationRules: [...LIMIT_RULES],
    // src/main.ts listens for signals: the parts below this one are stopped after it.
    stopOnTerminationSignals: false,
    formatError: (_formatted, error) => presentedError(error),
    plugins: [
      ApolloServerPluginLandingPageDisabled(),
      // It would wrap every resolver, and no answer is cacheable.
      ApolloServerPluginCacheControlDisabled(),
      operationsOf(schema, introspection),
      socket.drainPlugin,
      fastifyApolloDrainPlugin(app),
    ],
  });
  await apollo.start();

  const answer = fastifyApolloHandler(apollo, {
    context: (request) =>
      openContext(house, {
        request: requestFacts(request.raw, { id: request.id, transport: 'HTTP', trusted }),
        authenticate: () => actorOf(house.db, house.services, bearerToken(request.headers.authorization)),
      }),
  });
  await app.register(compress, COMPRESSION);
  app.route({
    method: ['GET', 'POST', 'OPTIONS'],
    url: '/graphql',
    compress: {},
    preHandler: async (request, reply) => {
      const fault = crossSiteFault(request, origins);
      if (fault) {
        const code = fault.status === 403 ? 'FORBIDDEN' : 'BAD_USER_INPUT';
        return await reply.code(fault.status).send(faultBody(request, fault.message, code));
      }
      try {
        if (documents) withTrustedText(request, documents);
      } catch (cause) {
        return await reply.code(400).send(faultBody(request, (cause as GraphQLError).message));
      }
      return undefined;
    },
    handler: (request, reply) =>
      spannedFrom(request.headers, 'graphql', async () => await answer.call(app, request, reply)),
  });
  app.get('/.well-known/jwks.json', async (_request, reply) => {
    void reply.header('cache-control', 'public, max-age=300');
    return house.services.tokens.jwks();
  });
  app.get('/', (_request, reply) => reply.redirect('/graphiql'));
  await serveExplorer(app);
  serveSchemaFile(app, async ({ headers: { authorization } }) =>
    maySeeSchema(introspection, await actorOf(house.db, house.services, bearerToken(authorization))),
  );
  serveEvents(app, { house, schema, trusted, limit, stuckMsMax });
  serveLedger(app, { house, trusted });
  serveExports(app, { house, trusted });
  for (const each of alsoServe) each.serve(app);

  await app.listen({ host, port }).catch(async (cause: unknown) => {
    await apollo.stop();
    throw listenFault(cause, host, port) ?? cause;
  });
  const address = app.server.address();
  const actualPort = typeof address === 'object' && address !== null ? address.port : port;
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${actualPort}`,
    stop() {
      stopping = true;
      return apollo.stop();
    },
  };
}

/** Why it cannot listen there, where the environment decides it. */
function listenFault(cause: unknown, host: string, port: number): SettingsError | undefined {
  switch (systemCode(cause)) {
    case 'EADDRINUSE':
      return new SettingsError(`PORT must be a free port, but ${port} on ${host} is in use`);
    case 'EACCES':
      return new SettingsError(`PORT must be a port this user may listen on, but ${port} is not`);
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
      return new SettingsError(`HOST must be an address of this machine, but ${host} is not`);
    default:
      return undefined;
  }
}

/** Codes of requests that were not carried out: what the caller wrote is at fault. */
const REQUEST_FAULTS = [
  'GRAPHQL_PARSE_FAILED',
  'GRAPHQL_VALIDATION_FAILED',
  'BAD_USER_INPUT',
  'QUERY_TOO_COMPLEX',
];

/** Checks each operation's cost, ends its context, names the request in its answer and logs what is a bug. */
function operationsOf(
  schema: GraphQLSchema,
  introspection: Introspection,
): ApolloServerPlugin<OperationContext> {
  return {
    requestDidStart: async () => ({
      async didResolveOperation({
        document,
        operation,
        operationName,
        request: { variables },
        contextValue,
      }) {
        if (!operation) return;
        const shown = maySeeSchema(introspection, contextValue.actor);
        assertAllowed(schema, { document, operationName, variables }, shown);
      },
      async didEncounterErrors({ contextValue: { request, services }, errors }) {
        for (const err of errors.filter(isInternal)) {
          services.log.error({ err: err.originalError ?? err, requestId: request.id }, 'an operation failed');
        }
      },
      async willSendResponse({ contextValue, response, request, errors }) {
        await contextValue.settle();
        response.http.headers.set('cache-control', 'no-store');
        if (response.body.kind !== 'single') return;
        const result = response.body.singleResult;
        const requestId = contextValue.request.id;
        result.extensions = { ...result.extensions, requestId };
        if (!result.errors) return;
        const helped = mayHearSuggestions(introspection, contextValue.actor);
        result.errors = withoutRepetition(result.errors).map((error) => ({
          ...error,
          message: helped ? error.message : withoutSuggestions(error.message),
          extensions: { ...error.extensions, requestId },
        }));
        // GraphQL over HTTP, 6.4.1: to who does not ask for the newer media type, an answer is a 200 whatever it says.
        const isOld = !request.http?.headers.get('accept')?.includes('application/graphql-response+json');
        const isFault = REQUEST_FAULTS.includes(String(errors?.[0]?.extensions['code']));
        if (isOld && isFault && !('data' in result && result.data !== undefined)) response.http.status = 200;
        const wait = result.errors.find(({ extensions }) => extensions?.['retryAfterSeconds'])?.extensions;
        if (wait) response.http.headers.set('retry-after', String(wait['retryAfterSeconds']));
      },
    }),
  };
}

/** Without the query: an operation sent by GET stands in it. */
function pathOf(url: string): string {
  return url.split('?', 1)[0]!;
}
