import type { TypedDocumentNode } from '@graphql-typed-document-node/core';
import { Kind, print } from 'graphql';
import { createClient } from 'graphql-ws';

import { CustosError, type FormattedError } from './custosError.ts';
import type { Session, Tokens } from './session.ts';

const KEEP_ALIVE_MS = 10_000;
const WAIT_MS_FIRST = 250;
const WAIT_MS_MAX = 30_000;
/** Refusals of the token in a row, each after a new one was had: it is not the token. */
const RENEWALS_MAX = 3;
/** The connection's session is over, or its token has expired. */
const CLOSED_FORBIDDEN = 4403;
/** Faults of the protocol (RFC 6455, graphql-transport-ws), which the same client commits again. */
const CLOSED_FOR_GOOD: readonly number[] = [1002, 1003, 1007, 1008, 1009, 1010, 4400, 4401, 4406, 4409];
/** What passes by itself. */
const PASSING: readonly string[] = ['RATE_LIMITED', 'INTERNAL_SERVER_ERROR', 'AUDIT_UNAVAILABLE'];

/** What a live field gives: its one field, with its `cursor` and `node`. */
export type Live<Data> = Data[Exclude<keyof Data, '__typename'>] & { readonly cursor: string };

export interface TailOptions<Variables> {
  /** The cursor of the last step that was seen; without it, from now on. */
  readonly after?: string | undefined;
  readonly variables?: Omit<Variables, 'after'>;
  readonly signal?: AbortSignal;
  /** Told why a connection ended and how long it waits before the next. */
  readonly onRetry?: (cause: unknown, waitMs: number) => void;
}

interface Connecting {
  readonly url: string;
  readonly session: Session;
  readonly webSocketImpl?: unknown;
  readonly keepAliveMs?: number;
}

/** Client.tail, with what it connects by. */
export function tail<Data, Variables>(
  connecting: Connecting,
  document: TypedDocumentNode<Data, Variables>,
  options: TailOptions<Variables>,
): AsyncIterableIterator<Live<Data>, undefined> {
  const declared = document.definitions.flatMap((definition) =>
    definition.kind === Kind.OPERATION_DEFINITION ? (definition.variableDefinitions ?? []) : [],
  );
  if (!declared.some(({ variable }) => variable.name.value === 'after')) {
    throw new TypeError('A live field can only be resumed if its subscription passes on a variable $after.');
  }
  const returned = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, returned.signal]) : returned.signal;
  const steps = resuming<Live<Data>>(connecting, print(document), { ...options, signal });
  const iterator: AsyncIterableIterator<Live<Data>, undefined> = {
    [Symbol.asyncIterator]: () => iterator,
    next: () => steps.next(),
    // A generator that waits for an event is deaf to its own `return`.
    async return() {
      returned.abort();
      return await steps.return(undefined);
    },
  };
  return iterator;
}

type Resuming = TailOptions<object> & { readonly signal: AbortSignal };

async function* resuming<Step extends { readonly cursor: string }>(
  connecting: Connecting,
  query: string,
  { after, variables, signal, onRetry }: Resuming,
): AsyncGenerator<Step, undefined> {
  const { session } = connecting;
  let cursor = after;
  let failures = 0;
  let renewals = 0;
  let refused: Tokens | undefined;
  while (!signal.aborted) {
    let tokens: Tokens | undefined;
    let ended: unknown = new Error('The server ended the subscription.');
    try {
      tokens = await (refused ? session.renewed(refused) : session.current());
      refused = undefined;
      for await (const step of stepsOf<Step>(
        connecting,
        tokens,
        { query, variables: { ...variables, after: cursor } },
        signal,
      )) {
        failures = 0;
        renewals = 0;
        cursor = step.cursor;
        yield step;
      }
    } catch (cause) {
      ended = Array.isArray(cause) ? new CustosError(cause as FormattedError[]) : cause;
    }
    if (signal.aborted) return;
    if (isTokenRefused(ended)) {
      if (!tokens || ++renewals > RENEWALS_MAX) throw thrown(ended);
      refused = tokens;
    } else if (isForGood(ended)) throw thrown(ended);
    const waitMs = waitAfter(ended, failures++);
    onRetry?.(ended, waitMs);
    await pause(waitMs, signal);
  }
}

/** The steps of one connection, which ends with them. Throws why it ended: a close event, an error, or a list of GraphQL errors. */
async function* stepsOf<Step>(
  { url, webSocketImpl = globalThis.WebSocket, keepAliveMs = KEEP_ALIVE_MS }: Connecting,
  tokens: Tokens | undefined,
  operation: { readonly query: string; readonly variables: Record<string, unknown> },
  signal: AbortSignal,
): AsyncGenerator<Step> {
  let silence: ReturnType<typeof setTimeout> | undefined;
  let isOver = false;
  // A connection that is dead at the other end says nothing, not even that.
  const alive = () => {
    clearTimeout(silence);
    // What was on its way when it ended still arrives, and must not keep a process going.
    if (isOver) return;
    silence = setTimeout(() => socket.terminate(), 2 * keepAliveMs);
  };
  const socket = createClient({
    url: url.replace(/^http/, 'ws'),
    webSocketImpl: quiet(webSocketImpl),
    connectionParams: tokens ? { authorization: `Bearer ${tokens.accessToken}` } : {},
    retryAttempts: 0,
    keepAlive: keepAliveMs,
    on: { message: alive },
  });
  const stop = () => socket.terminate();
  const results = socket.iterate<Record<string, Step>>(operation);
  signal.addEventListener('abort', stop);
  alive();
  try {
    for await (const { data, errors } of results) {
      alive();
      if (errors) throw errors;
      yield Object.values(data!)[0]!;
    }
  } finally {
    isOver = true;
    clearTimeout(silence);
    signal.removeEventListener('abort', stop);
  }
}

/** `ws` throws out of nowhere when a connection is given up before it is open and nobody listens any more. */
function quiet(webSocketImpl: unknown): unknown {
  if (webSocketImpl === undefined) return undefined;
  return class extends (webSocketImpl as typeof WebSocket) {
    constructor(...args: ConstructorParameters<typeof WebSocket>) {
      super(...args);
      this.addEventListener('error', () => {});
    }
  };
}

function isTokenRefused(ended: unknown): boolean {
  return ended instanceof CustosError
    ? ended.reason === 'TOKEN_EXPIRED'
    : closeCode(ended) === CLOSED_FORBIDDEN;
}

function isForGood(ended: unknown): boolean {
  if (ended instanceof CustosError) return !PASSING.includes(ended.code);
  return CLOSED_FOR_GOOD.includes(closeCode(ended) ?? 0);
}

function closeCode(ended: unknown): number | undefined {
  const { code } = ended as { readonly code?: unknown };
  return typeof code === 'number' ? code : undefined;
}

/** A browser's close event is no Error. */
function thrown(ended: unknown): unknown {
  if (ended instanceof Error) return ended;
  const { code, reason } = ended as { readonly code: number; readonly reason: string };
  return new Error(`The server closed the connection: ${code} ${reason}`, { cause: ended });
}

/** Milliseconds: twice as long each time, at random in its upper half, so that not all clients of a server come back at once. */
function waitAfter(ended: unknown, failures: number): number {
  const longest = Math.min(WAIT_MS_FIRST * 2 ** failures, WAIT_MS_MAX);
  const asked = ended instanceof CustosError ? (ended.retryAfterSeconds ?? 0) * 1000 : 0;
  return asked + longest * (0.5 + Math.random() / 2);
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done, { once: true });
    function done() {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    }
  });
}
