/** People who follow the log over a WebSocket. */
import { expect, onTestFinished } from 'vitest';

import { type Person, type World, world } from './server.ts';
import { type LiveStep, socketClient, subscribe } from './socket.ts';
import { allSealed } from './seal.ts';
import { until } from './wait.ts';

/** The three live fields, as `live`. */
export const FAILED = `subscription ($filter: LoginFailedFilter, $after: String) { live: loginFailed(filter: $filter, after: $after) {
  cursor node { email ipAddress reason occurredAt log { id action position createdAt resourceId failure { reason } } } } }`;
export const APPENDED = `subscription ($filter: AuditLogFilter, $after: String) { live: auditLogAppended(filter: $filter, after: $after) {
  cursor node { id action position tenantId actor { name } user { email } } } }`;
export const RAISED = `subscription ($minSeverity: Severity, $after: String) { live: securityEventRaised(minSeverity: $minSeverity, after: $after) {
  cursor node { id action severity occurredAt log { id position createdAt } } } }`;

/** The wait for a beat is the server's choice; a test has not the time. */
function beatEvery({ server: { house } }: World, beatMs: number): void {
  const { feed } = house;
  Object.assign(house, {
    feed: { ...feed, follow: (options: object) => feed.follow({ ...options, beatMs } as never) },
  });
}

/** A client that ends with the test. */
export function clientOf(here: World, token: string | undefined) {
  const client = socketClient(here.url, token);
  onTestFinished(() => client.dispose());
  return client;
}

/** Two tenants, ways to fail a login and to follow what happens. The feed beats every 20 ms. */
export async function livePeople() {
  const here = await world({ TRUSTED_PROXIES: '127.0.0.1' });
  beatEvery(here, 20);
  const { admin, subdomain } = await here.tenant();
  const { admin: foreign } = await here.tenant('Globex');
  const user = await here.user(admin, 'MEMBER');
  return {
    here,
    admin,
    foreign,
    own: { ...user, subdomain },
    fail: async (email: string, from = '127.0.0.1', tenant?: string) => {
      const operation = 'mutation ($input: LoginInput!) { login(input: $input) { expiresAt } }';
      const input = { email, password: 'wrong password', tenant };
      const { errors } = await here.anybody.ask(operation, { input }, { 'x-forwarded-for': from });
      expect(errors[0]!.extensions['reason']).toBe('INVALID_CREDENTIALS');
    },
    /** Resolves when the stream has begun: what happens from now on is in it. */
    listen: async (reader: Person, query: string, variables: Record<string, unknown> = {}) => {
      await allSealed(here.database.admin);
      const steps = subscribe<LiveStep>(clientOf(here, reader.token), query, variables);
      const { cursor: origin, node } = await steps.next();
      expect(node).toBeNull();
      return {
        origin,
        step: () => steps.next(),
        /** The next event. */
        async next() {
          const { node } = (await steps.until((step) => step.node !== null)).at(-1)!;
          return node;
        },
        /** The events that are left when the stream has ended, and how it ended. */
        async rest() {
          const nodes: LiveStep['node'][] = [];
          for (;;) {
            try {
              const { node } = await steps.next();
              if (node) nodes.push(node);
            } catch (cause) {
              return { nodes, code: (cause as { readonly code?: number }).code };
            }
          }
        },
        /** The events that are left up to that position, when the stream has come past it. */
        restUpTo: async (position: number) =>
          (await steps.until(({ cursor }) => placeIn(cursor) > position)).filter(
            (step) => step.node !== null,
          ),
      };
    },
    /** Writes a record of an action of its own, and returns its position. */
    mark: async (reader: Person): Promise<number> => {
      const { data } = await here.anybody.do('forgotPassword', { email: reader.email });
      let position: number | null = null;
      await until('the mark is sealed', async () => {
        const answer = await reader.ask(
          'query ($id: ID!) { auditLog(id: $id) { position } }',
          data.receipts[0],
        );
        position = answer.data.auditLog.position as number | null;
        return position !== null;
      });
      return position!;
    },
  };
}

/** To a client a cursor is opaque; here it says how far a quiet stream has come. */
function placeIn(cursor: string): number {
  return Number((JSON.parse(Buffer.from(cursor, 'base64url').toString()) as unknown[])[1]);
}
