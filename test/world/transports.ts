/** The two ways in, as one: an operation and its answer, over HTTP or over a WebSocket. */
import type { Client } from 'graphql-ws';
import { onTestFinished } from 'vitest';

import { type Answer, post, type World } from './server.ts';
import { socketClient } from './socket.ts';

export const TRANSPORTS = ['HTTP', 'WEBSOCKET'] as const;
export type Transport = (typeof TRANSPORTS)[number];

/** Longer than a test: a connection carries many operations. */
const KEPT_OPEN_MS = 600_000;

/** What came back of an operation, whichever way it went. */
export type Reply = Pick<Answer, 'data' | 'errors' | 'requestId'>;

export interface Speech {
  /** Sends one operation with that token, or with none. A connection that is refused is a reply with its close code as reason. */
  readonly say: (
    token: string | undefined,
    query: string,
    variables?: Record<string, unknown>,
  ) => Promise<Reply>;
  /** Ends the connection of a token, where it has one of its own. */
  readonly hangUp: (token: string) => Promise<void>;
}

/** Opens one of the ways; each token has one connection, which ends with the test. */
export function speechOver(transport: Transport, here: World): Speech {
  if (transport === 'HTTP') {
    return {
      say: (token, query, variables = {}) =>
        post(here.url, { query, variables }, token === undefined ? {} : { authorization: `Bearer ${token}` }),
      hangUp: async () => {},
    };
  }
  const clients = new Map<string | undefined, Client>();
  onTestFinished(async () => {
    for (const client of clients.values()) await client.dispose();
  });
  return {
    say(token, query, variables = {}) {
      const client = clients.get(token) ?? socketClient(here.url, token, { lazyCloseTimeout: KEPT_OPEN_MS });
      clients.set(token, client);
      return answered(client, query, variables);
    },
    async hangUp(token) {
      await clients.get(token)?.dispose();
      clients.delete(token);
    },
  };
}

/** The first word of an answer: all there is to a query or mutation, the beginning of a subscription. */
function answered(client: Client, query: string, variables: Record<string, unknown>): Promise<Reply> {
  return new Promise((resolve) => {
    const stop = client.subscribe(
      { query, variables },
      {
        next({ data = null, errors = [], extensions }) {
          const requestId = (extensions as { requestId: string }).requestId;
          resolve({ data, errors: errors as unknown as Reply['errors'], requestId });
          stop();
        },
        error: (cause) => resolve(Array.isArray(cause) ? refused(cause as Reply['errors']) : closed(cause)),
        complete: () => resolve(closed('It ended without an answer.')),
      },
    );
  });
}

function refused(errors: Reply['errors']): Reply {
  return { data: null, errors, requestId: String(errors[0]?.extensions['requestId']) };
}

function closed(cause: unknown): Reply {
  const { code } = cause as { readonly code?: number };
  const reason = code === undefined ? String(cause) : `CLOSED_${code}`;
  return { data: null, errors: [{ message: reason, extensions: { reason } }], requestId: '' };
}

/** Why an operation failed; undefined if it did not. */
export function reasonOf({ errors: [error] }: Pick<Reply, 'errors'>): string | undefined {
  return error && ((error.extensions['reason'] as string | undefined) ?? error.message);
}
