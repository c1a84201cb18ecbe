import { createClient, type Client, type ClientOptions, type Tokens } from '../../client/src/client.ts';
import { sessionOf } from '../world/auditRecord.ts';
import type { Person, World } from '../world/server.ts';
import { until } from '../world/wait.ts';
import { WebSocket } from 'ws';

/** A client for a person who is signed in already. `url` is the server's, or a proxy's. */
export function clientFor(url: string, tokens?: Tokens, options: Partial<ClientOptions> = {}): Client {
  return createClient({
    url: new URL('/graphql', url).href,
    webSocketImpl: WebSocket,
    ...(tokens ? { tokens } : {}),
    ...options,
  });
}

/** What a person's sign-in gave, with an access token that expires at another time than the person's own. */
export function tokensOf({ server }: World, person: Person, lifetimeSeconds = 900): Tokens {
  const { tokens } = server.house.services;
  const { token } = tokens.sign({ userId: person.id, sessionId: sessionOf(person), lifetimeSeconds });
  return { accessToken: token, refreshToken: person.refreshToken, expiresAt: inMinutes(15) };
}

/** As tokensOf, when the access token has expired, which the client cannot know. */
export async function expiredTokensOf(here: World, person: Person): Promise<Tokens> {
  const tokens = tokensOf(here, person, 1);
  await until('it has expired', () => !here.server.house.services.tokens.verify(tokens.accessToken).ok);
  return tokens;
}

export function inMinutes(minutes: number): string {
  return new Date(Date.now() + minutes * 60_000).toISOString();
}

/** How many records of an action there are, of all tenants. */
export async function recorded({ database }: World, actionKey: string): Promise<number> {
  const [found] = await database.admin`select count(*)::int from audit_logs where action = ${actionKey}`;
  return found!['count'] as number;
}
