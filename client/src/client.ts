/**
 * A typed client of Custos for browsers and Node: operations through TypedDocumentNode, the refresh of tokens, and live
 * fields that resume by themselves. What it sends beyond the caller's own documents stands in operations/.
 */
import type { TypedDocumentNode } from '@graphql-typed-document-node/core';
import { print } from 'graphql';

import { CustosError, type FormattedError } from './custosError.ts';
import {
  LoginDocument,
  type LoginInput,
  LogoutDocument,
  type PersonFragment,
  RefreshTokenDocument,
} from './generated/graphql.ts';
import { openSession, type Tokens } from './session.ts';
import { type Live, tail, type TailOptions } from './tail.ts';

export { CustosError } from './custosError.ts';
export type { Tokens } from './session.ts';
export type { TailOptions } from './tail.ts';

const REQUEST_MS_MAX = 30_000;

export interface ClientOptions {
  /** Where GraphQL is served, such as `https://custos.example/graphql`. */
  readonly url: string;
  /** Those of an earlier sign-in, as `onTokens` was told them; or an access token alone, for as long as it is good. */
  readonly tokens?: Tokens;
  /** Told each new pair, to be kept for the next run, and undefined when the session is over. */
  readonly onTokens?: (tokens: Tokens | undefined) => void;
  readonly fetch?: typeof fetch;
  /** The class of `ws` in Node before 22; elsewhere there is one already. */
  readonly webSocketImpl?: unknown;
  /** How long a silent connection is trusted before it is asked for a sign of life; default 10 s. */
  readonly keepAliveMs?: number;
}

export interface Client {
  /** Signs in, and is that user from now on. */
  login(input: LoginInput, options?: { readonly signal?: AbortSignal }): Promise<PersonFragment>;
  /** Ends the session, here and on the server. */
  logout(): Promise<void>;
  /** Becomes the user of these tokens: of `register`, or of an accepted invitation. */
  begin(tokens: Tokens | undefined): void;
  readonly tokens: Tokens | undefined;
  /**
   * Carries out a query or a mutation. Rejects with CustosError when the answer has an error. One that came too late for its
   * token was not carried out, and is sent again with a new one.
   */
  request<Data, Variables>(
    document: TypedDocumentNode<Data, Variables>,
    variables?: Variables,
    options?: { readonly signal?: AbortSignal },
  ): Promise<Data>;
  /**
   * Follows a live field: every event after the cursor `after` (or from now on), in order, without gap or duplicate, through
   * lost connections, restarts of the server and expired tokens. A step without node only says how far a quiet stream has
   * come; a reader that keeps the cursor of its last step goes on there in its next run. Ends with `signal` or `break`, and throws
   * what no new attempt can mend, such as BAD_CURSOR or FORBIDDEN.
   */
  tail<Data, Variables>(
    document: TypedDocumentNode<Data, Variables>,
    options?: TailOptions<Variables>,
  ): AsyncIterableIterator<Live<Data>, undefined>;
}

/** Opens a client; it holds nothing open until it is used. */
export function createClient({ url, ...options }: ClientOptions): Client {
  const session = openSession({
    tokens: options.tokens,
    exchange: async (refreshToken) => {
      const { refreshToken: payload } = await send(RefreshTokenDocument, { input: { refreshToken } });
      return tokensOf(payload!);
    },
    onTokens: options.onTokens ?? (() => {}),
  });

  return {
    async login(input, { signal } = {}) {
      const { login: payload } = await send(LoginDocument, { input }, undefined, signal);
      session.begin(tokensOf(payload!));
      return payload!.user;
    },
    async logout() {
      await request(LogoutDocument);
      session.begin(undefined);
    },
    begin: (tokens) => session.begin(tokens),
    get tokens() {
      return session.tokens;
    },
    request,
    tail: (document, tailOptions = {}) => tail({ url, session, ...options }, document, tailOptions),
  };

  async function request<Data, Variables>(
    document: TypedDocumentNode<Data, Variables>,
    variables?: Variables,
    { signal }: { readonly signal?: AbortSignal } = {},
  ): Promise<Data> {
    const tokens = await session.current();
    try {
      return await send(document, variables, tokens, signal);
    } catch (cause) {
      if (!tokens || !cameTooLate(cause)) throw cause;
      return await send(document, variables, await session.renewed(tokens), signal);
    }
  }

  async function send<Data, Variables>(
    document: TypedDocumentNode<Data, Variables>,
    variables: Variables | undefined,
    tokens?: Tokens,
    signal?: AbortSignal,
  ): Promise<Data> {
    const deadline = AbortSignal.timeout(REQUEST_MS_MAX);
    const response = await (options.fetch ?? fetch)(url, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        accept: 'application/graphql-response+json, application/json',
        ...(tokens ? { authorization: `Bearer ${tokens.accessToken}` } : {}),
      },
      body: JSON.stringify({ query: print(document), variables }),
      signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
    });
    const { data, errors } = await answerIn<Data>(response);
    if (errors) throw new CustosError(errors, data);
    return data as Data;
  }
}

interface GraphQLAnswer<Data> {
  readonly data?: Data | null;
  readonly errors?: readonly FormattedError[];
}

/** A proxy in between may answer with a page of its own. */
async function answerIn<Data>(response: Response): Promise<GraphQLAnswer<Data>> {
  const text = await response.text();
  try {
    const answer = JSON.parse(text) as GraphQLAnswer<Data>;
    if (answer.data !== undefined || answer.errors !== undefined) return answer;
  } catch {
    // Told below.
  }
  throw new Error(`${response.url} answered ${response.status} without GraphQL: ${text.slice(0, 200)}`);
}

/** Whether it was refused for its token alone. A mutation beside it may have been for everybody: then nothing is repeated. */
function cameTooLate(cause: unknown): boolean {
  return (
    cause instanceof CustosError &&
    cause.reason === 'TOKEN_EXPIRED' &&
    Object.values(cause.data ?? {}).every((field) => field === null)
  );
}

function tokensOf({ accessToken, refreshToken, expiresAt }: Tokens): Tokens {
  return { accessToken, refreshToken, expiresAt };
}
