import { CustosError, type FormattedError } from './custosError.ts';

/** How long before it expires an access token is exchanged: longer than a request takes. */
const MARGIN_MS = 30_000;
const NO_REFRESH_TOKEN: FormattedError = {
  message: 'The access token is not taken any more, and there is no refresh token to get another with.',
  extensions: { code: 'UNAUTHENTICATED', reason: 'TOKEN_EXPIRED' },
};

/** What a sign-in gives. Whoever keeps it elsewhere must keep every new pair: a refresh token works once. */
export interface Tokens {
  readonly accessToken: string;
  /** Without it the session is over when the access token is refused. */
  readonly refreshToken?: string | undefined;
  /** When the access token expires, ISO 8601; where that is unknown, the server's refusal has to do. */
  readonly expiresAt?: string | undefined;
}

/** The tokens of a client, exchanged in time, and once however many callers wait for it. */
export interface Session {
  readonly tokens: Tokens | undefined;
  /** Begins another session, or none. */
  begin(tokens: Tokens | undefined): void;
  /** The tokens to send now. Rejects with the server's CustosError when the session is over. */
  current(): Promise<Tokens | undefined>;
  /** The tokens to send instead of these, which the server did not take. */
  renewed(refused: Tokens): Promise<Tokens | undefined>;
}

export interface SessionOptions {
  readonly tokens: Tokens | undefined;
  readonly exchange: (refreshToken: string) => Promise<Tokens>;
  readonly onTokens: (tokens: Tokens | undefined) => void;
}

export function openSession({ tokens: initial, exchange, onTokens }: SessionOptions): Session {
  let tokens = initial;
  let dueAtMs = dueMsOf(initial);
  let renewal: Promise<void> | undefined;

  return {
    get tokens() {
      return tokens;
    },
    begin,
    async current() {
      if (tokens && Date.now() >= dueAtMs) await renew(tokens);
      return tokens;
    },
    async renewed(refused) {
      // Another caller may have been refused them too, and have done it already.
      if (tokens === refused) await renew(refused);
      return tokens;
    },
  };

  function begin(next: Tokens | undefined): void {
    tokens = next;
    const dueMs = dueMsOf(next);
    // New tokens that look old: the clock here is wrong. Then the server's TOKEN_EXPIRED has to do.
    dueAtMs = dueMs > Date.now() ? dueMs : Infinity;
    onTokens(next);
  }

  async function renew(old: Tokens): Promise<void> {
    renewal ??= exchanged(old).finally(() => (renewal = undefined));
    await renewal;
  }

  async function exchanged(old: Tokens): Promise<void> {
    try {
      if (old.refreshToken === undefined) throw new CustosError([NO_REFRESH_TOKEN]);
      const next = await exchange(old.refreshToken);
      if (tokens === old) begin(next);
    } catch (cause) {
      if (tokens === old && isOver(cause)) begin(undefined);
      throw cause;
    }
  }
}

function dueMsOf(tokens: Tokens | undefined): number {
  return tokens?.refreshToken && tokens.expiresAt ? Date.parse(tokens.expiresAt) - MARGIN_MS : Infinity;
}

/** Whether a refresh token that was refused so will never be taken. */
function isOver(cause: unknown): boolean {
  return cause instanceof CustosError && cause.code === 'UNAUTHENTICATED';
}
