/** The server's edge: /graphql over HTTP and WebSocket, the explorer, the keys access tokens are checked with. */
import { ApolloServer, type ApolloServerPlugin } from '@apollo/server';
import { ApolloServerPluginLandingPageDisabled } from '@apollo/server/plugin/disabled';
import { fastifyApolloDrainPlugin, fastifyApolloHandler } from '@as-integrations/fastify';
import Fastify, { type FastifyInstance, LogController } from 'fastify';
import type { GraphQLSchema } from 'graphql';

import { actorOf } from '../auth/principal.ts';
import { type House, openContext, type OperationContext } from '../graphql/context.ts';
import { isInternal, presentedError } from '../graphql/errors.ts';
import { SettingsError } from '../platform/settings.ts';
import { systemCode } from '../platform/systemError.ts';
import { parseTrustedProxies } from './address.ts';
import { serveExplorer } from './explorer.ts';
import { bearerToken, requestFacts, requestIdOf } from './request.ts';
import { openSocket } from './socket.ts';

const BODY_BYTES_MAX = 1024 * 1024;

export interface ListenOptions {
  readonly house: House;
  readonly schema: GraphQLSchema;
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  /** Networks whose forwarding headers are believed. */
  readonly trustedProxies: readonly string[];
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
}: ListenOptions): Promise<Listening> {
  const trusted = parseTrustedProxies(trustedProxies);
  const app = Fastify({
    loggerInstance: house.services.log,
    genReqId: requestIdOf,
    logController: new LogController({ requestIdLogLabel: 'requestId', disableRequestLogging: true }),
    bodyLimit: BODY_BYTES_MAX,
  }) as unknown as FastifyInstance;
  app.addHook('onRequest', async (request, reply) => {
    void reply.header('x-request-id', request.id);
  });
  app.addHook('onResponse', async (request, reply) => {
    request.log.info(
      { method: request.method, url: pathOf(request.url), status: reply.statusCode },
      'request',
    );
  });

  const socket = openSocket({ house, schema, trusted, server: app.server });
  const apollo = new ApolloServer<OperationContext>({
    schema,
    includeStacktraceInErrorResponses: false,
    introspection: true,
    persistedQueries: false,
    // src/main.ts listens for signals: the parts below this one are stopped after it.
    stopOnTerminationSignals: false,
    formatError: (_formatted, error) => presentedError(error),
    plugins: [
      ApolloServerPluginLandingPageDisabled(),
      operations,
      socket.drainPlugin,
      fastifyApolloDrainPlugin(app),
    ],
  });
  await apollo.start();

  app.route({
    method: ['GET', 'POST', 'OPTIONS'],
    url: '/graphql',
    handler: fastifyApolloHandler(apollo, {
      context: (request) =>
        openContext(house, {
          request: requestFacts(request.raw, { id: request.id, transport: 'HTTP', trusted }),
          authenticate: () => actorOf(house.db, house.services, bearerToken(request.headers.authorization)),
        }),
    }),
  });
  app.get('/.well-known/jwks.json', async (_request, reply) => {
    void reply.header('cache-control', 'public, max-age=300');
    return house.services.tokens.jwks();
  });
  app.get('/', (_request, reply) => reply.redirect('/graphiql'));
  await serveExplorer(app);

  await app.listen({ host, port }).catch(async (cause: unknown) => {
    await apollo.stop();
    throw listenFault(cause, host, port) ?? cause;
  });
  const address = app.server.address();
  const actualPort = typeof address === 'object' && address !== null ? address.port : port;
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${actualPort}`,
    stop: () => apollo.stop(),
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

/** Ends each operation's context, names the request in its answer and logs what is a bug. */
const operations: ApolloServerPlugin<OperationContext> = {
  requestDidStart: async () => ({
    async didEncounterErrors({ contextValue: { request, services }, errors }) {
      for (const err of errors.filter(isInternal)) {
        services.log.error({ err: err.originalError ?? err, requestId: request.id }, 'an operation failed');
      }
    },
    async willSendResponse({ contextValue, response }) {
      await contextValue.settle();
      response.http.headers.set('cache-control', 'no-store');
      if (response.body.kind !== 'single') return;
      const result = response.body.singleResult;
      const requestId = contextValue.request.id;
      result.extensions = { ...result.extensions, requestId };
      if (!result.errors) return;
      result.errors = result.errors.map((error) => ({
        ...error,
        extensions: { ...error.extensions, requestId },
      }));
    },
  }),
};

/** Without the query: an operation sent by GET stands in it. */
function pathOf(url: string): string {
  return url.split('?', 1)[0]!;
}
