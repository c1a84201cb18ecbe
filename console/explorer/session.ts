import { observed, type Observed } from './observed.ts';
import { isRecord, Refused, refusalOf, request, type Answer, type Refusal } from './request.ts';

/** Who is signed in. */
interface Person {
  readonly id: string;
  readonly email: string;
  readonly fullName: string;
  readonly role: string;
}

interface SessionState {
  /** null while nobody is signed in. */
  readonly person: Person | null;
  /** Whether an answer to a sign-in or sign-out is outstanding. */
  readonly busy: boolean;
  /** Why the last sign-in was refused, or why the session ended. */
  readonly refusal: Refusal | null;
}

/** `tenant` may be empty. */
interface Credentials {
  readonly email: string;
  readonly password: string;
  readonly tenant: string;
}

/** The session of this browser tab. */
export interface Session {
  readonly state: Observed<SessionState>;
  /** Signs in; a refusal is found in `state`. Who was signed in before is signed out. Resolves to whether it worked. */
  readonly signIn: (credentials: Credentials) => Promise<boolean>;
  /** Ends the session, here even when the server does not answer. */
  readonly signOut: () => Promise<void>;
  /** A valid access token, refreshed if need be; null while nobody is signed in. Never rejects. */
  readonly accessToken: () => Promise<string | null>;
  /** Exchanges the tokens now; one exchange at a time, whoever asks. Never rejects. */
  readonly refresh: () => Promise<void>;
  /** Calls `listener` when somebody else, or nobody any more, is signed in. */
  readonly onSwitch: (listener: () => void) => void;
}

interface Tokens {
  readonly accessToken: string;
  readonly refreshToken: string;
  /** By this browser's clock. */
  readonly expiresAtMs: number;
  readonly person: Person;
}

const AUTH_PAYLOAD = 'accessToken refreshToken expiresAt user { id email fullName role }';
const SIGN_IN = `mutation SignIn($input: LoginInput!) { login(input: $input) { ${AUTH_PAYLOAD} } }`;
const REFRESH = `mutation RefreshSession($input: RefreshTokenInput!) { refreshToken(input: $input) { ${AUTH_PAYLOAD} } }`;
const SIGN_OUT = 'mutation SignOut { logout { success } }';

const STORAGE_KEY = 'custos.session';
const REFRESH_AHEAD_MS = 30_000;
const REFRESH_AGAIN_MS = 10_000;
const EXPIRES_SOON_MS = 2_000;
/** After these the refresh token is still good: try again later. After any other refusal it is not. */
const PASSING = new Set([undefined, 'RATE_LIMITED', 'AUDIT_UNAVAILABLE', 'INTERNAL_SERVER_ERROR']);

/**
 * Takes up the session that `storage` holds, if any.
 *
 * `storage` is to be sessionStorage. localStorage would outlive the tab, and would be shared between tabs: two tabs would
 * spend the same refresh token, which the server has to take for theft, and both would be signed out.
 */
export function openSession(storage: Storage): Session {
  let tokens = read(storage);
  let refreshing: Promise<void> | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const listeners = new Set<() => void>();
  const state = observed<SessionState>({ person: tokens?.person ?? null, busy: false, refusal: null });
  if (tokens) schedule(untilRefresh(tokens));

  return {
    state,
    signIn: async ({ email, password, tenant }) => {
      state.set({ ...state.get(), busy: true, refusal: null });
      const before = tokens;
      try {
        const input = { email, password, ...(tenant && { tenant }) };
        hold(tokensOf(await request(SIGN_IN, { input }), 'login'));
      } catch (cause) {
        state.set({ ...state.get(), busy: false, refusal: refusalOf(cause) });
        return false;
      }
      if (before) void request(SIGN_OUT, {}, before.accessToken).catch(() => undefined);
      announce();
      return true;
    },
    signOut: async () => {
      const before = tokens;
      if (!before) return;
      state.set({ ...state.get(), busy: true });
      // The session may have ended already; here it ends in any case.
      await request(SIGN_OUT, {}, before.accessToken).catch(() => undefined);
      if (tokens === before) drop(null);
    },
    accessToken: async () => {
      if (tokens && tokens.expiresAtMs - Date.now() < EXPIRES_SOON_MS) await refresh();
      return tokens?.accessToken ?? null;
    },
    refresh,
    onSwitch: (listener) => void listeners.add(listener),
  };

  function refresh(): Promise<void> {
    refreshing ??= exchange().finally(() => (refreshing = undefined));
    return refreshing;
  }

  async function exchange(): Promise<void> {
    const before = tokens;
    if (!before) return;
    try {
      const input = { refreshToken: before.refreshToken };
      const next = tokensOf(await request(REFRESH, { input }), 'refreshToken');
      if (tokens === before) hold(next);
    } catch (cause) {
      if (tokens !== before) return;
      const refusal = refusalOf(cause);
      if (PASSING.has(refusal.code)) schedule(REFRESH_AGAIN_MS);
      else drop(refusal);
    }
  }

  function hold(next: Tokens): void {
    tokens = next;
    storage.setItem(STORAGE_KEY, JSON.stringify(next));
    state.set({ person: next.person, busy: false, refusal: null });
    schedule(untilRefresh(next));
  }

  function drop(refusal: Refusal | null): void {
    tokens = null;
    clearTimeout(timer);
    storage.removeItem(STORAGE_KEY);
    state.set({ person: null, busy: false, refusal });
    announce();
  }

  function schedule(delayMs: number): void {
    clearTimeout(timer);
    timer = setTimeout(() => void refresh(), delayMs);
  }

  function announce(): void {
    for (const listener of listeners) listener();
  }
}

function untilRefresh({ expiresAtMs }: Tokens): number {
  const leftMs = Math.max(0, expiresAtMs - Date.now());
  // A token that lives for less than a minute is refreshed half-way instead of at once and again and again.
  return leftMs - Math.min(REFRESH_AHEAD_MS, leftMs / 2);
}

/** Reads the AuthPayload of `field`. */
function tokensOf({ data, clockAheadMs }: Answer, field: string): Tokens {
  const payload = data[field];
  const expiresAt = isRecord(payload) ? Date.parse(String(payload.expiresAt)) : Number.NaN;
  const tokens = isRecord(payload) && {
    ...payload,
    expiresAtMs: expiresAt - clockAheadMs,
    person: payload.user,
  };
  if (!isTokens(tokens)) throw new Refused({ message: 'The server answered without a session.' });
  const { accessToken, refreshToken, expiresAtMs, person } = tokens;
  return { accessToken, refreshToken, expiresAtMs, person };
}

function read(storage: Storage): Tokens | null {
  try {
    const held: unknown = JSON.parse(storage.getItem(STORAGE_KEY) ?? 'null');
    return isTokens(held) ? held : null;
  } catch {
    return null;
  }
}

function isTokens(value: unknown): value is Tokens {
  if (!isRecord(value) || !isRecord(value.person)) return false;
  const { id, email, fullName, role } = value.person;
  const texts = [value.accessToken, value.refreshToken, id, email, fullName, role];
  return texts.every((text) => typeof text === 'string') && Number.isFinite(value.expiresAtMs);
}
