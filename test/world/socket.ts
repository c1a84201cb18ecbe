import { type Client, createClient } from 'graphql-ws';
import { WebSocket } from 'ws';

/** No close frame came (RFC 6455, 7.4.1). */
const CLOSED_ABNORMALLY = 1006;

/** A subscription whose events are kept until they are asked for. */
export interface Subscribed<Event> {
  /** The next event that has not been taken; waits for it. Rejects when the subscription ends first. */
  next(): Promise<Event>;
  /** Takes events until `enough` says so; returns all taken, the last included. */
  until(enough: (event: Event) => boolean): Promise<Event[]>;
  /** How it ended, once it has. */
  readonly ended: Promise<unknown>;
  stop(): void;
}

/** A graphql-ws client of a server, with a token. It does not retry: what happens to a socket is the test's affair. */
export function socketClient(
  url: string,
  token: string | undefined,
  options: { retryAttempts?: number; lazyCloseTimeout?: number } = {},
): Client {
  return createClient({
    url: `${url.replace(/^http/, 'ws').replace(/\/$/, '')}/graphql`,
    webSocketImpl: WebSocket,
    retryAttempts: 0,
    ...options,
    connectionParams: token === undefined ? {} : { authorization: `Bearer ${token}` },
  });
}

/** Subscribes to one field: the events are that field's values. */
export function subscribe<Event>(
  client: Client,
  query: string,
  variables: Record<string, unknown> = {},
): Subscribed<Event> {
  const events: Event[] = [];
  const waiting: { resolve: (event: Event) => void; reject: (cause: unknown) => void }[] = [];
  let end: { cause: unknown } | undefined;
  let settleEnd: (cause: unknown) => void = () => {};
  const ended = new Promise<unknown>((resolve) => {
    settleEnd = resolve;
  });
  const finish = (cause: unknown) => {
    end = { cause };
    for (const { reject } of waiting.splice(0)) reject(cause);
    settleEnd(cause);
  };
  const stop = client.subscribe<Record<string, Event>>(
    { query, variables },
    {
      next({ data, errors }) {
        if (errors) return finish(errors);
        const event = Object.values(data!)[0]!;
        const waiter = waiting.shift();
        if (waiter) waiter.resolve(event);
        else events.push(event);
      },
      error: finish,
      complete: () => finish(new Error('The subscription is complete.')),
    },
  );
  const next = () => {
    if (events.length > 0) return Promise.resolve(events.shift()!);
    if (end) return Promise.reject(end.cause);
    return new Promise<Event>((resolve, reject) => waiting.push({ resolve, reject }));
  };
  return {
    next,
    async until(enough) {
      const taken: Event[] = [];
      for (;;) {
        const event = await next();
        taken.push(event);
        if (enough(event)) return taken;
      }
    },
    ended,
    stop,
  };
}

/** A step of a live field. */
export interface LiveStep {
  readonly cursor: string;
  // oxlint-disable-next-line typescript/no-explicit-any -- what the subscription asked for
  readonly node: any;
}

/**
 * Subscribes again with the last cursor whenever the connection breaks, until there are enough nodes. Rejects when the server
 * refuses. `connections` is how many it took.
 */
export async function subscribeThrough(
  url: string,
  token: string,
  query: string,
  variables: Record<string, unknown>,
  enough: (nodes: readonly LiveStep['node'][]) => boolean,
): Promise<{ readonly nodes: readonly LiveStep['node'][]; readonly connections: number }> {
  const nodes: LiveStep['node'][] = [];
  let { after } = variables;
  for (let connections = 1; ; connections++) {
    const client = socketClient(url, token);
    const steps = subscribe<LiveStep>(client, query, { ...variables, after });
    try {
      while (!enough(nodes)) {
        const { cursor, node } = await steps.next();
        after = cursor;
        if (node) nodes.push(node);
      }
      return { nodes, connections };
    } catch (cause) {
      if (!isBroken(cause)) throw cause;
    } finally {
      await client.dispose();
    }
  }
}

/** Whether the connection just broke: everything else is the server's word. */
function isBroken(cause: unknown): boolean {
  const { code, message } = cause as { readonly code?: unknown; readonly message?: unknown };
  return code === CLOSED_ABNORMALLY || /ECONNRESET|socket hang up/.test(String(message));
}
