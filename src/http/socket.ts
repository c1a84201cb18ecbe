import type { Server } from 'node:http';

import type { ApolloServerPlugin } from '@apollo/server';
import { type FormattedExecutionResult, GraphQLError, type GraphQLSchema, parse, validate } from 'graphql';
import { useServer } from 'graphql-ws/use/ws';
import { type WebSocket, WebSocketServer } from 'ws';

import type { Actor } from '../audit/act.ts';
import { actorOf } from '../auth/principal.ts';
import { type House, openContext, type OperationContext } from '../graphql/context.ts';
import { isInternal, presentedError } from '../graphql/errors.ts';
import type { TrustedProxies } from './address.ts';
import { bearerToken, requestFacts, requestIdOf } from './request.ts';

const MESSAGE_BYTES_MAX = 256 * 1024;
const INIT_MS_MAX = 3_000;
/** The session is over: graphql-ws clients reconnect after it, with a new token. 4401 would be for ever. */
const CLOSED_FORBIDDEN = 4403;
/** We cannot say who it is just now (RFC 6455's registry): clients try again, as they do not after 4500. */
const CLOSED_TRY_LATER = 1013;

export interface SocketOptions {
  readonly house: House;
  readonly schema: GraphQLSchema;
  readonly trusted: TrustedProxies;
  readonly server: Server;
}

/** What a connection remembers besides what graphql-ws does. */
interface Remembered extends Record<PropertyKey, unknown> {
  token?: string | undefined;
}

/** Serves graphql-transport-ws on /graphql. A connection authenticates with `{ authorization: "Bearer ..." }` at `connection_init`. */
export function openSocket({ house, schema, trusted, server }: SocketOptions): {
  drainPlugin: ApolloServerPlugin;
} {
  const { db, services } = house;
  // Without the server: given it, ws takes a port in use for an error of its own, and graphql-ws prints that.
  const sockets = new WebSocketServer({ noServer: true, path: '/graphql', maxPayload: MESSAGE_BYTES_MAX });
  server.on('upgrade', (request, socket, head) => {
    sockets.handleUpgrade(request, socket, head, (opened) => sockets.emit('connection', opened, request));
  });
  const disposable = useServer<Record<string, unknown>, Remembered>(
    {
      schema,
      connectionInitWaitTimeout: INIT_MS_MAX,

      async onConnect({ connectionParams, extra }) {
        const { authorization } = connectionParams ?? {};
        extra.token = bearerToken(authorization);
        // What is not a bearer token is not nobody: the client meant to be somebody.
        if (authorization !== undefined && extra.token === undefined) return false;
        const actor = await whoIs(extra.token, extra.socket);
        if (!actor || (actor.type === 'ANONYMOUS' && actor.because)) return false;
        if (extra.token !== undefined) closeOnExpiry(extra.socket, extra.token);
        return true;
      },

      // Done here because graphql-ws ends the connection, and with it every other operation on it, with 4500 for a document
      // that does not parse and for a caller that cannot be looked up.
      async onSubscribe({ extra }, _id, { query, operationName, variables }) {
        try {
          const document = parse(query);
          const faults = validate(schema, document);
          if (faults.length > 0) return faults;
          const contextValue = await openContext(house, {
            request: requestFacts(extra.request, { id: newRequestId(), transport: 'WEBSOCKET', trusted }),
            authenticate: () => actorOf(db, services, extra.token),
            hangUp: () => extra.socket.close(CLOSED_FORBIDDEN, 'Forbidden'),
          });
          return { schema, document, operationName, variableValues: variables, contextValue };
        } catch (cause) {
          return [cause instanceof GraphQLError ? cause : masked(cause)];
        }
      },

      // Not only in onNext: it is not called when the client has lost interest.
      onOperation: (_ctx, _id, _payload, { contextValue }) => (contextValue as OperationContext).settle(),

      async onNext(_ctx, _id, _payload, { contextValue }, result) {
        const context = contextValue as OperationContext;
        await context.settle();
        const { errors, ...rest } = result;
        const extensions = { ...result.extensions, requestId: context.request.id };
        const answer = { ...rest, extensions } as FormattedExecutionResult;
        if (!errors) return answer;
        return { ...answer, errors: presented(errors, context.request.id) };
      },

      onError: (_ctx, _id, _payload, errors) => presented(errors, newRequestId()),
    },
    sockets,
  );

  /** Undefined when that cannot be found out: then the connection is closed. */
  async function whoIs(token: string | undefined, socket: WebSocket): Promise<Actor | undefined> {
    try {
      return await actorOf(db, services, token);
    } catch (err) {
      services.log.error({ err }, 'a connection could not be authenticated');
      socket.close(CLOSED_TRY_LATER, 'Try again later');
      return undefined;
    }
  }

  function closeOnExpiry(socket: WebSocket, token: string): void {
    const claims = services.tokens.verify(token);
    if (!claims.ok || socket.readyState !== socket.OPEN) return;
    const remainingMs = claims.expiresAt * 1000 - Number(services.clock.now() / 1000n);
    const timer = setTimeout(() => socket.close(CLOSED_FORBIDDEN, 'Forbidden'), Math.max(remainingMs, 0));
    socket.once('close', () => clearTimeout(timer));
  }

  function presented(errors: readonly GraphQLError[], requestId: string) {
    for (const err of errors.filter(isInternal)) {
      services.log.error({ err: err.originalError ?? err, requestId }, 'an operation failed');
    }
    return errors.map((error) => presentedError(error, requestId));
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

/** An upgrade may carry an id, but it holds many operations. */
function newRequestId(): string {
  return requestIdOf({ headers: {} });
}

function masked(cause: unknown): GraphQLError {
  return new GraphQLError('The operation could not be begun.', { originalError: cause as Error });
}
