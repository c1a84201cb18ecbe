import { createGraphiQLFetcher, type Fetcher } from '@graphiql/toolkit';
import { getOperationAST, OperationTypeNode, type ExecutionResult } from 'graphql';
import { createClient, type Client } from 'graphql-ws';
import type { LiveFeed, Payload } from './liveFeed.ts';
import { observed, type Observed } from './observed.ts';
import { GRAPHQL_URL, isRecord } from './request.ts';
import type { Session } from './session.ts';

/** Sent by the server when the session expired or was revoked; a client comes back with a new token. */
const SESSION_ENDED = 4403;
const RETRY_WAIT_MS_MAX = 5_000;

export type Connection = 'idle' | 'connecting' | 'connected' | 'reconnecting';

/** The WebSocket that all subscriptions of the page share. */
export interface Socket {
  readonly client: Client;
  readonly connection: Observed<Connection>;
}

/**
 * A WebSocket under the token of `session`: connected while something is subscribed, reconnected for as long as
 * something is, and at once when somebody else signs in.
 */
export function openSocket(session: Session): Socket {
  const connection = observed<Connection>('idle');
  let ended = false;
  let renewing = false;
  let endWait: (() => void) | undefined;
  const client = createClient({
    url: SOCKET_URL,
    connectionParams: async () => {
      renewing = true;
      // Revoked before its time: the token looks valid to us, but the server will not have it again.
      if (ended) await session.refresh();
      const token = await session.accessToken();
      renewing = ended = false;
      return token ? { authorization: `Bearer ${token}` } : {};
    },
    retryAttempts: Number.POSITIVE_INFINITY,
    retryWait: (retries) => {
      // Spread, so that all the tabs of the world do not come back at once.
      const delayMs = Math.min(RETRY_WAIT_MS_MAX, 250 * 2 ** retries) * (0.5 + Math.random());
      return new Promise((resolve) => {
        const timer = setTimeout(resolve, delayMs);
        endWait = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    },
    // The default gives up when the server cannot be reached, as it is while it restarts.
    shouldRetry: (cause) => !(closeCode(cause) === SESSION_ENDED && session.state.get().person === null),
    on: {
      connecting: (again) => connection.set(again ? 'reconnecting' : 'connecting'),
      connected: () => connection.set('connected'),
      closed: (event) => {
        ended ||= closeCode(event) === SESSION_ENDED;
        connection.set(closeCode(event) === 1_000 ? 'idle' : 'reconnecting');
      },
    },
  });
  session.onSwitch(() => {
    // The connection that is being made finds out by itself.
    if (renewing) return;
    ended = false;
    client.terminate();
    endWait?.();
  });
  return { client, connection };
}

/**
 * What GraphiQL sends its operations through: under the session's token, unless the operation brings an authorization
 * header of its own. The live feed gets to see what a subscription yields.
 */
export function openFetcher(session: Session, socket: Socket, feed: LiveFeed): Fetcher {
  // No @defer and no @stream on the server: plain JSON answers.
  const overHttp = createGraphiQLFetcher({
    url: GRAPHQL_URL,
    fetch: authorized(session),
    enableIncrementalDelivery: false,
  });
  return (params, options) => {
    const operation = options?.documentAST && getOperationAST(options.documentAST, params.operationName);
    if (operation?.operation !== OperationTypeNode.SUBSCRIPTION) return overHttp(params, options);

    const authorization = new Headers(options?.headers).get('authorization');
    const client = authorization
      ? createClient({ url: SOCKET_URL, connectionParams: { authorization } })
      : socket.client;
    // The feed writes the last cursor into the variables, and graphql-ws sends them again when it reconnects.
    const payload: Payload = { ...params, variables: { ...params.variables } };
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the toolkit's type has errors before they were sent
    return feed.tap(payload, client.iterate(payload)) as AsyncIterable<ExecutionResult>;
  };
}

const SOCKET_URL = new URL(GRAPHQL_URL, location.href.replace(/^http/, 'ws')).href;

function authorized(session: Session): typeof fetch {
  return async (input, init) => {
    const headers = new Headers(init?.headers);
    const token = headers.has('authorization') ? null : await session.accessToken();
    if (token) headers.set('authorization', `Bearer ${token}`);
    // An empty header is how one asks as nobody while signed in.
    if (headers.get('authorization') === '') headers.delete('authorization');
    return fetch(input, { ...init, headers });
  };
}

function closeCode(cause: unknown): number | undefined {
  return isRecord(cause) && typeof cause.code === 'number' ? cause.code : undefined;
}
