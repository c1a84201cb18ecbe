import { ApolloClient, ApolloLink, CombinedGraphQLErrors, HttpLink, InMemoryCache } from '@apollo/client';
import { ErrorLink } from '@apollo/client/link/error';
import { GraphQLWsLink } from '@apollo/client/link/subscriptions';
import { relayStylePagination } from '@apollo/client/utilities';
import type { TypedDocumentNode } from '@graphql-typed-document-node/core';
import { OperationTypeNode, parse } from 'graphql';
import { firstValueFrom } from 'rxjs';
import { expect, onTestFinished, test } from 'vitest';

import { LoginDocument, LoginFailedDocument, MeDocument } from '../../client/src/generated/graphql.ts';
import { PASSWORD, type Person, world } from '../world/server.ts';
import { socketClient } from '../world/socket.ts';

interface RecordsPage {
  readonly auditLogs: {
    readonly edges: readonly {
      readonly cursor: string;
      readonly node: { readonly id: string; readonly action: string };
    }[];
    readonly pageInfo: { readonly hasNextPage: boolean; readonly endCursor: string | null };
  };
}

const PAGE = parse(`query Page($first: Int, $after: String, $filter: AuditLogFilter) {
  auditLogs(first: $first, after: $after, filter: $filter) {
    edges { cursor node { id action } }
    pageInfo { hasNextPage endCursor }
  }
}`) as TypedDocumentNode<RecordsPage, { first?: number; after?: string | null; filter?: object }>;

const RENAME = parse(`mutation Rename($input: UpdateUserInput!) {
  updateUser(input: $input) { user { id fullName } }
}`) as TypedDocumentNode<
  { updateUser: { user: { fullName: string } } | null },
  { input: { id: string; fullName: string } }
>;

test('Apollo Client keeps an object once, and shows everywhere what a mutation made of it', async () => {
  const { here, admin } = await acme();
  const { client, requests } = apollo(here.url, admin);

  const { data: before } = await client.query({ query: MeDocument });
  const { data: renamed } = await client.mutate({
    mutation: RENAME,
    variables: { input: { id: admin.id, fullName: 'Ada' } },
  });
  const sent = requests.length;
  const { data: after } = await client.query({ query: MeDocument });

  expect(renamed!.updateUser!.user.fullName).toBe('Ada');
  expect(after!.me).toEqual({ ...before!.me, fullName: 'Ada' });
  expect(requests).toHaveLength(sent);
  expect(Object.keys(client.cache.extract() as object).filter((key) => key.startsWith('User:'))).toEqual([
    `User:${admin.id}`,
  ]);
});

test('relayStylePagination joins the pages of the log to all of it, each record once', async () => {
  const { here, admin } = await acme();
  for (let failed = 0; failed < 5; failed++) await here.signIn(admin.email, 'wrong password');
  const { client } = apollo(here.url, admin);
  const filter = { actions: ['LOGIN_FAILED'] };
  const shown = client.watchQuery({ query: PAGE, variables: { first: 2, filter } });
  const watching = shown.subscribe(() => {});
  onTestFinished(() => watching.unsubscribe());

  const pages: (RecordsPage | undefined)[] = [
    (await client.query({ query: PAGE, variables: { first: 2, filter } })).data,
  ];
  while (pages.at(-1)!.auditLogs.pageInfo.hasNextPage) {
    const { endCursor } = pages.at(-1)!.auditLogs.pageInfo;
    pages.push((await shown.fetchMore({ variables: { after: endCursor } })).data);
  }

  const { data } = await admin.ask(
    'query ($filter: AuditLogFilter) { auditLogs(filter: $filter) { nodes { id } } }',
    { filter },
  );
  const all = (data.auditLogs.nodes as { id: string }[]).map(({ id }) => id);
  const { edges } = (shown.getCurrentResult().data as RecordsPage).auditLogs;
  expect(pages).toHaveLength(3);
  expect(all).toHaveLength(5);
  expect(edges.map(({ node }) => node.id)).toEqual(all);
});

test('an error link reads the code, the reason and the request of a refusal', async () => {
  const { here, admin } = await acme();
  const { client, refusals } = apollo(here.url, admin);
  const input = { email: admin.email, password: 'wrong password' };

  await expect(client.mutate({ mutation: LoginDocument, variables: { input } })).rejects.toThrow(
    CombinedGraphQLErrors,
  );

  expect(refusals).toEqual([
    {
      code: 'UNAUTHENTICATED',
      reason: 'INVALID_CREDENTIALS',
      requestId: expect.stringMatching(/./) as string,
    },
  ]);
});

test('a subscription of Apollo Client brings what happens, and its refusals', async () => {
  const { here, admin } = await acme();
  const { client } = apollo(here.url, admin);
  const steps: (string | null)[] = [];
  const live = client.subscribe({ query: LoginFailedDocument }).subscribe(({ data }) => {
    steps.push(data?.loginFailed.node?.email ?? null);
  });
  onTestFinished(() => live.unsubscribe());
  await expect.poll(() => steps).toContain(null);

  const input = { email: admin.email, password: 'wrong password' };
  await client.mutate({ mutation: LoginDocument, variables: { input } }).catch(() => {});
  await expect.poll(() => steps, { timeout: 5_000 }).toContain(admin.email);

  const member = await here.user(admin, 'MEMBER');
  const refused = await firstValueFrom(
    apollo(here.url, member).client.subscribe({ query: LoginFailedDocument }),
  );
  expect(CombinedGraphQLErrors.is(refused.error)).toBe(true);
  expect(refused.error).toMatchObject({
    errors: [{ extensions: { code: 'FORBIDDEN', reason: 'SCOPE_MISSING' } }],
  });
});

test('Apollo Client signs in without a token', async () => {
  const { here, admin } = await acme();
  const { client } = apollo(here.url);
  const input = { email: admin.email, password: PASSWORD };
  const { data } = await client.mutate({ mutation: LoginDocument, variables: { input } });
  expect(data!.login!.user.id).toBe(admin.id);
});

async function acme() {
  const here = await world();
  return { here, ...(await here.tenant()) };
}

/** Apollo Client as its documentation sets it up: subscriptions over WebSocket, all else over HTTP. */
function apollo(url: string, person?: Person) {
  const requests: string[] = [];
  const refusals: unknown[] = [];
  const socket = socketClient(url, person?.token);
  onTestFinished(() => socket.dispose());
  const http = new HttpLink({
    uri: new URL('/graphql', url).href,
    headers: person ? { authorization: `Bearer ${person.token}` } : {},
  });
  const refused = new ErrorLink(({ error }) => {
    if (CombinedGraphQLErrors.is(error)) refusals.push(...error.errors.map(({ extensions }) => extensions));
  });
  const counted = new ApolloLink((operation, forward) => {
    requests.push(operation.operationName ?? '');
    return forward(operation);
  });
  const client = new ApolloClient({
    link: ApolloLink.split(
      ({ operationType }) => operationType === OperationTypeNode.SUBSCRIPTION,
      new GraphQLWsLink(socket),
      ApolloLink.from([refused, counted, http]),
    ),
    cache: new InMemoryCache({
      typePolicies: { Query: { fields: { auditLogs: relayStylePagination(['filter', 'orderBy']) } } },
    }),
  });
  onTestFinished(() => client.stop());
  return { client, requests, refusals };
}
