import { cacheExchange, Client, fetchExchange, subscriptionExchange } from '@urql/core';
import type { Sink } from 'graphql-ws';
import { expect, onTestFinished, test } from 'vitest';

import {
  AuditLogsDocument,
  LoginDocument,
  LoginFailedDocument,
  LogoutDocument,
  MeDocument,
} from '../../client/src/generated/graphql.ts';
import { type Person, world } from '../world/server.ts';
import { socketClient } from '../world/socket.ts';

test('urql asks, changes and is refused, in types', async () => {
  const { here, admin } = await acme();
  const client = urql(here.url, admin);

  const { data, error } = await client.query(MeDocument, {});
  expect(error).toBeUndefined();
  expect(data!.me.email).toBe(admin.email);
  const page = await client.query(AuditLogsDocument, { first: 1 });
  expect(page.data!.auditLogs.pageInfo.hasNextPage).toBe(true);

  expect((await client.mutation(LogoutDocument, {})).data!.logout!.success).toBe(true);
  const refused = await client.query(AuditLogsDocument, { first: 2 });
  expect(refused.error!.graphQLErrors[0]!.extensions).toMatchObject({
    code: 'UNAUTHENTICATED',
    reason: 'SESSION_REVOKED',
  });
});

test('a subscription of urql brings what happens', async () => {
  const { here, admin } = await acme();
  const client = urql(here.url, admin);
  const steps: (string | null)[] = [];
  const live = client.subscription(LoginFailedDocument, {}).subscribe(({ data }) => {
    steps.push(data?.loginFailed.node?.email ?? null);
  });
  onTestFinished(() => live.unsubscribe());
  await expect.poll(() => steps).toContain(null);

  const input = { email: admin.email, password: 'wrong password' };
  await client.mutation(LoginDocument, { input });

  await expect.poll(() => steps, { timeout: 5_000 }).toContain(admin.email);
});

async function acme() {
  const here = await world();
  return { here, ...(await here.tenant()) };
}

function urql(url: string, { token }: Person): Client {
  const socket = socketClient(url, token);
  onTestFinished(() => socket.dispose());
  return new Client({
    url: new URL('/graphql', url).href,
    // By default it asks by GET, as a page of another site could: the server does not answer that.
    preferGetMethod: false,
    fetchOptions: { headers: { authorization: `Bearer ${token}` } },
    exchanges: [
      cacheExchange,
      fetchExchange,
      subscriptionExchange({
        forwardSubscription: ({ query = '', variables }) => ({
          subscribe: (sink) => ({
            unsubscribe: socket.subscribe(
              { query, variables: variables as Record<string, unknown> },
              sink as Sink,
            ),
          }),
        }),
      }),
    ],
  });
}
