import type { Server } from 'node:http';
import type { Duplex } from 'node:stream';

import type { ApolloServerPlugin } from '@apollo/server';
import {
  type FormattedExecutionResult,
  GraphQLError,
  type GraphQLSchema,
  parse,
  specifiedRules,
  validate,
} from 'graphql';
import { useServer } from 'graphql-ws/use/ws';
import { type WebSocket, WebSocketServer } from 'ws';

import type { Actor } from '../audit/act.ts';
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
  tooComplex,
  withoutSuggestions,
} from '../graphql/limits.ts';
import type { TrustedDocuments } from '../graphql/trustedDocuments.ts';
import type { TrustedProxies } from './address.ts';
import type { ConnectionLimit } from './connectionLimit.ts';
import type { Origins } from './origin.ts';
import { bearerToken, msLeftOf, requestFacts, requestIdOf } from './request.ts';
import { closeWhenStuck } from './stuck.ts';

const MESSAGE_BYTES_MAX = 256 * 1024;
const INIT_MS_MAX = 3_000;
const OPERATIONS_MAX = 20;
const STUCK_MS_MAX = 10_000;
/** A client that has not answered a ping when the next is due is cut. Later than one that is stuck is told so. */
const PING_MS = 30_000;
/** For a client to answer that the connection is closed; ws itself would wait thirty seconds. */
const GOODBYE_MS_MAX = 5_000;
/** The session is over: graphql-ws clients reconnect after it, with a new token. 4401 would be for ever. */
const CLOSED_FORBIDDEN = 4403;
/** We cannot say who it is just now (RFC 6455's registry): clients try again, as they do not after 4500. */
const CLOSED_TRY_LATER = 1013;

export interface SocketOptions {
  readonly house: House;
  readonly schema: GraphQLSchema;
  readonly trusted: TrustedProxies;
  readonly origins: Origins;
  readonly introspection: Introspection;
  readonly documents: TrustedDocuments | undefined;
  readonly server: Server;
  readonly limit: ConnectionLimit;
  /** See closeWhenStuck. Default 10 s. */
  readonly stuckMsMax?: number | undefined;
}

const RULES = [...specifiedRules, ...LIMIT_RULES];

/** What a connection remembers besides what graphql-ws does. */
interface Remembered extends Record<PropertyKey, unknown> {
  token?: string | undefined;
  /** What is asked and not answered yet, also what the client has given up: that goes on all the same. */
  asked?: Set<object>;
}

/** Serves graphql-transport-ws on /graphql. A connection authenticates with `{ authorization: "Bearer ..." }` at `connection_init`. */
export function openSocket({
  house,
  schema,
  trusted,
  origins,
  introspection,
  documents,
  server,
  limit,
  stuckMsMax = STUCK_MS_MAX,
}: SocketOptions): { drainPlugin: ApolloServerPlugin } {
  const { db, services } = house;
  // Without the server: given it, ws takes a port in use for an error of its own, and graphql-ws prints that.
  const sockets = new WebSocketServer({ noServer: true, path: '/graphql', maxPayload: MESSAGE_BYTES_MAX });
  server.on('upgrade', (request, socket, head) => {
    if (!origins.allow(request.headers)) return refuse(socket, '403 Forbidden');
    if (!limit.admits(request, socket)) return refuse(socket, '429 Too Many Requests');
    sockets.handleUpgrade(request, socket, head, (opened) => {
      sockets.emit('connection', opened, request);
      // graphql-ws would print the stack of every frame that is too long; ws closes with the right code by itself.
      opened.removeAllListeners('error');
      opened.on('error', (err) => services.log.info({ err: err.message }, 'a connection was closed'));
    });
  });

  const disposable = useServer<Record<string, unknown>, Remembered>(
    {
      schema,
      connectionInitWaitTimeout: INIT_MS_MAX,

      async onConnect(connection) {
        closeWhenStuck(connection.extra, connection.subscriptions, stuckMsMax);
        const { connectionParams, extra } = connection;
        const { authorization } = connectionParams ?? {};
        extra.token = bearerToken(authorization);
        extra.asked = new Set();
        // What is not a bearer token is not nobody: the client meant to be somebody.
        if (authorization !== undefined && extra.token === undefined) return false;
        const actor = await whoIs(extra.token, extra.socket);
        if (!actor || (actor.type === 'ANONYMOUS' && actor.because)) return false;
        if (extra.token !== undefined) closeOnExpiry(extra.socket, extra.token);
        return true;
      },

      // Done here because graphql-ws ends the connection, and with it every other operation on it, with 4500 for a document
      // that does not parse and for a caller that cannot be looked up.
      async onSubscribe({ extra, subscriptions }, _id, payload) {
        const { operationName, variables } = payload;
        const asked = extra.asked!;
        asked.add(payload);
        let isBegun = false;
        try {
          if (Math.max(Object.keys(subscriptions).length, asked.size) > OPERATIONS_MAX)
            throw tooComplex(
              `A connection has at most ${OPERATIONS_MAX} operations at once: end one, or open another.`,
            );
          const document = parse(documents?.textOf(payload) ?? payload.query, PARSE_OPTIONS);
          const faults = validate(schema, document, RULES);
          if (faults.length > 0) return await explained(faults, extra.token);
          const contextValue = await openContext(house, {
            request: requestFacts(extra.request, { id: newRequestId(), transport: 'WEBSOCKET', trusted }),
            authenticate: () => actorOf(db, services, extra.token),
            hangUp: () => extra.socket.close(CLOSED_FORBIDDEN, 'Forbidden'),
          });
          try {
            assertAllowed(
              schema,
              { document, operationName, variables },
              maySeeSchema(introspection, contextValue.actor),
            );
          } catch (cause) {
            await contextValue.settle();
            throw cause;
          }
          isBegun = true;
          return { schema, document, operationName, variableValues: variables, contextValue };
        } catch (cause) {
          return [cause instanceof GraphQLError ? cause : masked(cause)];
        } finally {
          if (!isBegun) asked.delete(payload);
        }
      },

      // Not only in onNext: it is not called when the client has lost interest.
      async onOperation({ extra }, _id, payload, { contextValue }) {
        extra.asked!.delete(payload);
        await (contextValue as OperationContext).settle();
      },

      async onNext(_ctx, _id, _payload, { contextValue }, result) {
        const context = contextValue as OperationContext;
        await context.settle();
        const { errors, ...rest } = result;
        const extensions = { ...result.extensions, requestId: context.request.id };
        const answer = { ...rest, extensions } as FormattedExecutionResult;
        if (!errors) return answer;
        const told = presented(errors, context.request.id);
        if (mayHearSuggestions(introspection, context.actor)) return { ...answer, errors: told };
        const bare = told.map((error) => ({ ...error, message: withoutSuggestions(error.message) }));
        return { ...answer, errors: bare };
      },

      onError: (_ctx, _id, _payload, errors) => presented(errors, newRequestId()),
    },
    sockets,
    PING_MS,
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
    if (socket.readyState !== socket.OPEN) return;
    const timer = setTimeout(() => socket.close(CLOSED_FORBIDDEN, 'Forbidden'), msLeftOf(services, token));
    socket.once('close', () => clearTimeout(timer));
  }

  function presented(errors: readonly GraphQLError[], requestId: string) {
    for (const err of errors.filter(isInternal)) {
      services.log.error({ err: err.originalError ?? err, requestId }, 'an operation failed');
    }
    return withoutRepetition(errors.map((error) => presentedError(error, requestId)));
  }

  /** The faults of a document, as far as its sender may see the schema. */
  async function explained(faults: readonly GraphQLError[], token: string | undefined) {
    if (mayHearSuggestions(introspection, await actorOf(db, services, token))) return faults;
    return faults.map(
      ({ message, nodes, extensions }) =>
        new GraphQLError(withoutSuggestions(message), nodes ? { nodes, extensions } : { extensions }),
    );
  }

  return {
    drainPlugin: {
      serverWillStart: async () => ({
        drainServer: async () => {
          const cut = setTimeout(() => {
            for (const each of sockets.clients) each.terminate();
          }, GOODBYE_MS_MAX);
          await disposable.dispose();
          clearTimeout(cut);
        },
      }),
    },
  };
}

function refuse(socket: Duplex, status: string): void {
  // Node has taken its own listener away: without one a client that hangs up ends the process.
  socket.on('error', () => {});
  socket.once('finish', () => socket.destroy());
  socket.end(`HTTP/1.1 ${status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`);
}

/** An upgrade may carry an id, but it holds many operations. */
function newRequestId(): string {
  return requestIdOf({ headers: {} });
}

function masked(cause: unknown): GraphQLError {
  return new GraphQLError('The operation could not be begun.', { originalError: cause as Error });
}
