import type { Server } from 'node:http';

import type { ApolloServerPlugin } from '@apollo/server';
import type { FormattedExecutionResult, GraphQLError, GraphQLSchema } from 'graphql';
import { useServer } from 'graphql-ws/use/ws';
import { WebSocketServer } from 'ws';

import { actorOf } from '../auth/principal.ts';
import { type House, openContext, type OperationContext } from '../graphql/context.ts';
import { isInternal, presentedError } from '../graphql/errors.ts';
import type { TrustedProxies } from './address.ts';
import { bearerToken, requestFacts, requestIdOf } from './request.ts';

const MESSAGE_BYTES_MAX = 256 * 1024;
const INIT_MS_MAX = 3_000;
/** The session is over: graphql-ws clients reconnect after it, with a new token. 4401 would be for ever. */
const CLOSED_FORBIDDEN = 4403;
const TIMER_MS_MAX = 2 ** 31 - 1;

export interface SocketOptions {
  readonly house: House;
  readonly schema: GraphQLSchema;
  readonly trusted: TrustedProxies;
  readonly server: Server;
}

/** What a connection remembers besides what graphql-ws does. */
interface Remembered extends Record<PropertyKey, unknown> {
  token?: string | undefined;
  expiry?: NodeJS.Timeout | undefined;
}

/** Serves graphql-transport-ws on /graphql. A connection authenticates with `{ authorization: "Bearer ..." }` at `connection_init`. */
export function openSocket({ house, schema, trusted, server }: SocketOptions): {
  drainPlugin: ApolloServerPlugin;
} {
  const { db, services } = house;
  const sockets = new WebSocketServer({ server, path: '/graphql', maxPayload: MESSAGE_BYTES_MAX });
  const disposable = useServer<Record<string, unknown>, Remembered>(
    {
      schema,
      connectionInitWaitTimeout: INIT_MS_MAX,

      async onConnect({ connectionParams, extra }) {
        const { authorization } = connectionParams ?? {};
        extra.token = bearerToken(authorization);
        // What is not a bearer token is not nobody: the client meant to be somebody.
        if (authorization !== undefined && extra.token === undefined) return false;
        const actor = await actorOf(db, services, extra.token);
        if (actor.type === 'ANONYMOUS' && actor.because) return false;
        const claims = extra.token === undefined ? undefined : services.tokens.verify(extra.token);
        if (claims?.ok) {
          const remaining = claims.expiresAt * 1000 - Number(services.clock.now() / 1000n);
          extra.expiry = setTimeout(
            () => extra.socket.close(CLOSED_FORBIDDEN, 'Forbidden'),
            Math.min(Math.max(remaining, 0), TIMER_MS_MAX),
          );
        }
        return true;
      },

      onDisconnect: ({ extra }) => clearTimeout(extra.expiry),

      context: ({ extra }) =>
        openContext(house, {
          request: requestFacts(extra.request, {
            id: requestIdOf({ headers: {} }),
            transport: 'WEBSOCKET',
            trusted,
          }),
          authenticate: () => actorOf(db, services, extra.token),
          hangUp: () => extra.socket.close(CLOSED_FORBIDDEN, 'Forbidden'),
        }),

      async onNext(_ctx, _id, _payload, { contextValue }, result) {
        const context = contextValue as OperationContext;
        await context.settle();
        const { errors, ...rest } = result;
        const extensions = { ...result.extensions, requestId: context.request.id };
        const answer = { ...rest, extensions } as FormattedExecutionResult;
        if (!errors) return answer;
        logBugs(context, errors);
        return { ...answer, errors: errors.map((error) => presentedError(error, context.request.id)) };
      },

      onError: (_ctx, _id, _payload, errors) => errors.map((error) => presentedError(error)),
    },
    sockets,
  );

  function logBugs({ request }: OperationContext, errors: readonly GraphQLError[]): void {
    for (const err of errors.filter(isInternal)) {
      services.log.error({ err: err.originalError ?? err, requestId: request.id }, 'an operation failed');
    }
  }

  return {
    drainPlugin: {
      serverWillStart: async () => ({
        drainServer: async () => {
          await disposable.dispose();
        },
      }),
    },
  };
}
