import { parse } from 'graphql';
import { expect, test } from 'vitest';

import { CustosError, type Tokens } from '../../client/src/client.ts';
import {
  AuditLogDocument,
  AuditLogsDocument,
  MeDocument,
  RegisterDocument,
} from '../../client/src/generated/graphql.ts';
import { PASSWORD, world } from '../world/server.ts';
import { clientFor, expiredTokensOf, inMinutes, recorded, tokensOf } from './people.ts';

test('a client signs in, is that user in each request, and nobody once it has signed out', async () => {
  const here = await world();
  const { admin } = await here.tenant();
  const kept: (Tokens | undefined)[] = [];
  const client = clientFor(here.url, undefined, { onTokens: (tokens) => kept.push(tokens) });

  const user = await client.login({ email: admin.email, password: PASSWORD });
  const { me } = await client.request(MeDocument);
  const { auditLogs } = await client.request(AuditLogsDocument, { filter: { actions: ['LOGIN'] }, first: 1 });
  await client.logout();

  expect(user).toMatchObject({ id: admin.id, role: 'TENANT_ADMIN', tenantId: admin.tenantId });
  expect(me).toEqual(user);
  expect(auditLogs.nodes).toMatchObject([{ action: 'LOGIN', actor: { id: user.id } }]);
  expect(kept).toEqual([
    { accessToken: expect.any(String), refreshToken: expect.any(String), expiresAt: expect.any(String) },
    undefined,
  ]);
  expect(client.tokens).toBeUndefined();
  await expect(client.request(MeDocument)).rejects.toMatchObject({ reason: 'SIGN_IN_REQUIRED' });
});

test('who registers goes on with the tokens of that', async () => {
  const here = await world();
  const client = clientFor(here.url);
  const input = {
    tenantName: 'Acme',
    subdomain: 'acme',
    email: 'a@acme.example',
    password: PASSWORD,
    fullName: 'A',
  };

  const { register } = await client.request(RegisterDocument, { input });
  client.begin(register!);

  expect((await client.request(MeDocument)).me.email).toBe('a@acme.example');
});

test('a refusal is a CustosError with code, reason, fields and the id of its request', async () => {
  const here = await world();
  const { admin } = await here.tenant();
  const ids: (string | null)[] = [];
  const client = clientFor(here.url, tokensOf(here, admin), {
    fetch: async (...args) => {
      const response = await fetch(...args);
      ids.push(response.headers.get('x-request-id'));
      return response;
    },
  });
  const refusal = async (answer: Promise<unknown>) => {
    const cause: unknown = await answer.then(
      () => undefined,
      (cause: unknown) => cause,
    );
    expect(cause).toBeInstanceOf(CustosError);
    return cause as CustosError;
  };

  const wrong = await refusal(client.login({ email: admin.email, password: 'wrong password' }));
  expect(wrong).toMatchObject({
    code: 'UNAUTHENTICATED',
    reason: 'INVALID_CREDENTIALS',
    requestId: ids.at(-1),
  });
  const input = { tenantName: 'A', subdomain: '-', email: 'a@b.example', password: PASSWORD, fullName: 'A' };
  expect(await refusal(client.request(RegisterDocument, { input }))).toMatchObject({
    code: 'BAD_USER_INPUT',
    reason: 'INVALID_INPUT',
    message: expect.stringMatching(/./) as string,
    fields: { subdomain: expect.any(String) as string },
    requestId: ids.at(-1),
  });
  expect(await refusal(client.request(parse('{ nothing }') as typeof MeDocument))).toMatchObject({
    code: 'BAD_USER_INPUT',
  });
  // A wrong password is no reason to think the session is over.
  expect((await client.request(MeDocument)).me.id).toBe(admin.id);
  expect((await client.request(AuditLogDocument, { id: admin.id })).auditLog).toBeNull();
});

test('an answer that is not GraphQL is told as it came, and is no CustosError', async () => {
  const client = clientFor('http://custos.example', undefined, {
    fetch: async () => new Response('<h1>Bad gateway</h1>', { status: 502 }),
  });
  const cause: unknown = await client.request(MeDocument).catch((cause: unknown) => cause);
  expect(cause).not.toBeInstanceOf(CustosError);
  expect(String(cause)).toMatch(/answered 502 without GraphQL: <h1>Bad gateway/);
});

test('twenty callers whose token has expired refresh it once, and all are answered', async () => {
  const here = await world();
  const { admin } = await here.tenant();
  const kept: (Tokens | undefined)[] = [];
  const client = clientFor(here.url, await expiredTokensOf(here, admin), {
    onTokens: (tokens) => kept.push(tokens),
  });

  const answers = await Promise.all(Array.from({ length: 20 }, () => client.request(MeDocument)));

  expect(new Set(answers.map(({ me }) => me.id))).toEqual(new Set([admin.id]));
  expect(kept).toHaveLength(1);
  expect(await recorded(here, 'auth.token_refreshed')).toBe(1);
  expect(await recorded(here, 'auth.token_reuse_detected')).toBe(0);
});

test('a token that is about to expire is refreshed before it is sent', async () => {
  const here = await world();
  const { admin } = await here.tenant();
  const tokens = { ...tokensOf(here, admin), expiresAt: inMinutes(0.4) };
  const client = clientFor(here.url, tokens);

  await Promise.all([client.request(MeDocument), client.request(MeDocument)]);
  await client.request(MeDocument);

  expect(client.tokens!.refreshToken).not.toBe(tokens.refreshToken);
  expect(await recorded(here, 'auth.token_refreshed')).toBe(1);
});

test('an access token alone is used as long as it is good, and then is the end of the session', async () => {
  const here = await world();
  const { admin } = await here.tenant();
  const kept: (Tokens | undefined)[] = [];
  const options = { onTokens: (tokens: Tokens | undefined) => kept.push(tokens) };
  const { accessToken } = tokensOf(here, admin);
  const client = clientFor(here.url, { accessToken, expiresAt: inMinutes(0.4) }, options);
  expect((await client.request(MeDocument)).me.id).toBe(admin.id);

  const late = clientFor(
    here.url,
    { accessToken: (await expiredTokensOf(here, admin)).accessToken },
    options,
  );
  const refusal = { code: 'UNAUTHENTICATED', reason: 'TOKEN_EXPIRED' };
  await expect(late.request(MeDocument)).rejects.toMatchObject(refusal);
  expect(kept).toEqual([undefined]);
  expect(await recorded(here, 'auth.token_refreshed')).toBe(0);
});

test('where the clock is wrong, new tokens are not taken for old ones', async () => {
  const here = await world();
  const { admin } = await here.tenant();
  const client = clientFor(here.url);
  client.begin({ ...tokensOf(here, admin), expiresAt: inMinutes(-60) });

  await client.request(MeDocument);

  expect(await recorded(here, 'auth.token_refreshed')).toBe(0);
});

test('when the session is over, every caller is told so and the tokens are forgotten', async () => {
  const here = await world();
  const { admin } = await here.tenant();
  const kept: (Tokens | undefined)[] = [];
  const expired = await expiredTokensOf(here, admin);
  const client = clientFor(here.url, expired, { onTokens: (tokens) => kept.push(tokens) });
  await admin.do('logout', undefined);

  const answers = await Promise.allSettled([client.request(MeDocument), client.request(MeDocument)]);

  expect(answers).toMatchObject([
    { status: 'rejected', reason: { reason: 'SESSION_REVOKED' } },
    { status: 'rejected', reason: { reason: 'SESSION_REVOKED' } },
  ]);
  expect(kept).toEqual([undefined]);
});

test('a request that was carried out in part is not sent again', async () => {
  const here = await world();
  const { admin } = await here.tenant();
  const client = clientFor(here.url, await expiredTokensOf(here, admin));
  const both = parse(
    `mutation { forgotPassword(input: { email: "${admin.email}" }) { accepted } logout { success } }`,
  );

  const refused = client.request(both);

  await expect(refused).rejects.toMatchObject({
    reason: 'TOKEN_EXPIRED',
    data: { forgotPassword: { accepted: true }, logout: null },
  });
  expect(await recorded(here, 'auth.password_reset_requested')).toBe(1);
});

test('a request ends with its signal', async () => {
  const here = await world();
  const client = clientFor(here.url);
  const abort = AbortSignal.abort(new Error('enough'));
  await expect(client.request(MeDocument, {}, { signal: abort })).rejects.toThrow('enough');
});
