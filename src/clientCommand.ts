/** What the commands share that talk to a running server over its public API: who asks, and why it failed. */
import { text } from 'node:stream/consumers';

import { type Client, createClient, CustosError } from '@custos/client';
import { type LoginInput, MeDocument } from '@custos/client/operations';
import { WebSocket } from 'ws';

import type { ConnectionOptions } from './clientOptions.ts';
import { SettingsError } from './platform/settings.ts';

export type Credentials = { readonly login: LoginInput } | { readonly token: string };

/** Does work with a client that is signed in. Throws what went wrong, in a sentence. */
export async function connected(
  options: ConnectionOptions,
  signal: AbortSignal,
  work: (client: Client, credentials: Credentials) => Promise<void>,
): Promise<void> {
  const credentials = await credentialsOf(options, process.env);
  const client = createClient({
    url: options.url,
    webSocketImpl: WebSocket,
    ...('token' in credentials ? { tokens: { accessToken: credentials.token } } : {}),
  });
  try {
    if ('login' in credentials) await client.login(credentials.login, { signal });
    else await client.request(MeDocument, {}, { signal });
    await work(client, credentials);
  } catch (cause) {
    const isTokenRefused = 'token' in credentials && isUnauthenticated(cause);
    const sentence = sentenceOf(cause, options.url);
    throw new Error(isTokenRefused ? `CUSTOS_TOKEN is not taken: ${sentence}` : sentence, { cause });
  }
}

async function credentialsOf(
  { email, passwordStdin, tenant }: ConnectionOptions,
  { CUSTOS_PASSWORD, CUSTOS_TOKEN }: NodeJS.ProcessEnv,
): Promise<Credentials> {
  if (email === undefined) {
    if (CUSTOS_TOKEN) return { token: CUSTOS_TOKEN };
    throw new SettingsError('CUSTOS_TOKEN must be an access token, unless --email says who is to sign in');
  }
  // Only the line break that `echo` and files end with is not the password's.
  const password = passwordStdin ? (await text(process.stdin)).replace(/\r?\n$/, '') : CUSTOS_PASSWORD;
  if (!password) {
    throw new SettingsError(
      'CUSTOS_PASSWORD must be the password of --email, unless --password-stdin reads it',
    );
  }
  return { login: { email, password, tenant } };
}

export function isUnauthenticated(cause: unknown): boolean {
  return cause instanceof CustosError && cause.code === 'UNAUTHENTICATED';
}

function sentenceOf(cause: unknown, url: string): string {
  if (!(cause instanceof CustosError)) return `${url}: ${reasonOf(cause)}`;
  const faults = Object.entries(cause.fields).map(([field, fault]) => `${field}: ${fault}`);
  return [cause.message, ...faults].join(' ');
}

/** Why a connection ended: an error, what caused it, or the event of a socket. */
interface Ended {
  readonly message?: string;
  readonly cause?: unknown;
  readonly reason?: string;
  readonly code?: number | string;
}

export function reasonOf(ended: unknown): string {
  const { message, reason, code, cause: deeper } = ended as Ended;
  if (deeper) return reasonOf(deeper);
  return message || reason || `code ${String(code)}`;
}
