import { parse } from 'graphql';
import type { TypedDocumentNode } from '@graphql-typed-document-node/core';
import { expect, onTestFinished, test } from 'vitest';

import {
  AuditLogAppendedDocument,
  LoginFailedDocument,
  type LoginFailedSubscription,
} from '../../client/src/generated/graphql.ts';
import { openProxy } from '../world/proxy.ts';
import { type Person, world } from '../world/server.ts';
import { until } from '../world/wait.ts';
import { clientFor, expiredTokensOf, recorded, tokensOf } from './people.ts';

test('a tail goes on after each loss of its connection, without gap or duplicate', async () => {
  const { here, admin, act } = await acme();
  const proxy = await openProxy(here.url);
  onTestFinished(() => proxy.stop());
  const client = clientFor(proxy.url, tokensOf(here, admin));
  const lost: unknown[] = [];
  const reading = read(client.tail(AuditLogAppendedDocument, { onRetry: (cause) => lost.push(cause) }));
  await reading.begun();

  for (let round = 0; round < 4; round++) {
    const acting = act(4);
    await reading.until(4 * round + 1);
    proxy.cutAll();
    await acting;
    await until('it is noticed', () => lost.length > round);
  }

  await expectAll(reading, 16);
});

test('a tail notices that a connection is dead, though nobody tells it', async () => {
  const { here, admin, act } = await acme();
  const proxy = await openProxy(here.url);
  onTestFinished(() => proxy.stop());
  const client = clientFor(proxy.url, tokensOf(here, admin), { keepAliveMs: 100 });
  const lost: unknown[] = [];
  const reading = read(client.tail(AuditLogAppendedDocument, { onRetry: (cause) => lost.push(cause) }));
  await reading.begun();
  await act(2);
  await reading.until(2);

  proxy.freeze();
  await act(2);
  // The second is the attempt to connect, which nobody answers either.
  await until('it is given up', () => lost.length >= 2);
  proxy.heal();

  await expectAll(reading, 4);
});

test('a tail goes on after a restart of the server, with what happened meanwhile elsewhere', async () => {
  const { here, admin, act } = await acme();
  const other = await here.another();
  const client = clientFor(here.url, tokensOf(here, admin));
  const lost: unknown[] = [];
  const reading = read(client.tail(AuditLogAppendedDocument, { onRetry: (cause) => lost.push(cause) }));
  await reading.begun();
  await act(2);

  await here.server.stop();
  await act(2, other.url);
  await until('it has tried in vain', () => lost.length >= 2);
  Object.assign(here.settings, { port: Number(new URL(here.url).port) });
  await here.another();
  await act(2);

  await expectAll(reading, 6);
});

test('a tail outlives its access token: it is refreshed once for all tails of a client', async () => {
  const { here, admin, act } = await acme();
  const client = clientFor(here.url, tokensOf(here, admin, 2));
  const lost: unknown[] = [];
  const onRetry = (cause: unknown) => lost.push(cause);
  const readings = [1, 2, 3].map(() => read(client.tail(AuditLogAppendedDocument, { onRetry })));
  for (const reading of readings) await reading.begun();
  await act(2);
  await until('the connections are closed', () => lost.length >= 3);
  expect(lost).toMatchObject([{ code: 4403 }, { code: 4403 }, { code: 4403 }]);
  await act(2);

  // Four acts and the refresh.
  for (const reading of readings) await expectAll(reading, 5);
  expect(await recorded(here, 'auth.token_refreshed')).toBe(1);
});

test('a tail begins with a token that has expired, and with a cursor of an earlier run', async () => {
  const { here, admin, act } = await acme();
  const first = read(clientFor(here.url, tokensOf(here, admin)).tail(AuditLogAppendedDocument));
  await first.begun();
  await act(3);
  const { cursor } = await first.until(2);
  await first.stop();

  const client = clientFor(here.url, await expiredTokensOf(here, admin));
  const second = client.tail(AuditLogAppendedDocument, { after: cursor });
  const { value } = await second.next();
  await second.return!();

  expect(value?.node?.position).toBe(first.positions[1]! + 1);
});

test('a tail ends with what no new attempt can mend', async () => {
  const { here, admin, member } = await acme();
  const ends = async (person: Person, after?: string) =>
    await clientFor(here.url, tokensOf(here, person)).tail(AuditLogAppendedDocument, { after }).next();

  await expect(ends(admin, 'no cursor')).rejects.toMatchObject({ code: 'BAD_CURSOR' });
  await expect(ends(member)).rejects.toMatchObject({ code: 'FORBIDDEN', reason: 'SCOPE_MISSING' });
  const anonymous = clientFor(here.url).tail(AuditLogAppendedDocument);
  await expect(anonymous.next()).rejects.toMatchObject({ reason: 'SIGN_IN_REQUIRED' });
  expect(await anonymous.next()).toEqual({ done: true, value: undefined });
});

test('a tail ends with its session', async () => {
  const { here, admin } = await acme();
  const reading = read(clientFor(here.url, tokensOf(here, admin)).tail(AuditLogAppendedDocument));
  await reading.begun();
  await admin.do('logout', undefined);
  expect(await reading.ended).toMatchObject({ name: 'CustosError', reason: 'SESSION_REVOKED' });
});

test('a tail that waits ends at once with its signal, or with return', async () => {
  const { here, admin } = await acme();
  const client = clientFor(here.url, tokensOf(here, admin));
  const abort = new AbortController();
  const done = { done: true, value: undefined };

  const aborted = client.tail(LoginFailedDocument, {
    variables: { filter: { email: 'x@y.example' } },
    signal: abort.signal,
  });
  const returned = client.tail(LoginFailedDocument);
  const early = client.tail(LoginFailedDocument);
  for (const each of [aborted, returned]) expect((await each.next()).value).toMatchObject({ node: null });
  const waiting = [aborted.next(), returned.next(), early.next()];
  abort.abort();

  expect(await returned.return!()).toEqual(done);
  expect(await early.return!()).toEqual(done);
  expect(await Promise.all(waiting)).toEqual([done, done, done]);
  expect(await aborted.next()).toEqual(done);
});

test('a subscription that could not be resumed is not begun', () => {
  const blind = parse('subscription { loginFailed { cursor node { email } } }');
  const document = blind as TypedDocumentNode<LoginFailedSubscription, Record<string, never>>;
  expect(() => clientFor('http://custos.example').tail(document)).toThrow('$after');
});

/** A tenant, and ways to leave records in its log, one each. */
async function acme() {
  const here = await world();
  const { admin } = await here.tenant();
  const member = await here.user(admin, 'MEMBER');
  await until('what happened before is sealed', async () => {
    const [log] = await here.database.admin`
      select (select count(*) from audit_logs) = (select sum(count) from audit_seals) as sealed`;
    return log!['sealed'] === true;
  });
  return {
    here,
    admin,
    member,
    act: async (times: number, url = here.url) => {
      const client = clientFor(url);
      const forgot = parse(`mutation { forgotPassword(input: { email: "${member.email}" }) { accepted } }`);
      for (let done = 0; done < times; done++) {
        await client.request(forgot);
      }
    },
  };
}

type Step = {
  readonly cursor: string;
  readonly node?: { readonly position?: number | string | null } | null;
};

/** Reads a tail of a whole tenant's log, whose positions have no gaps, to its end. */
function read(tail: AsyncIterableIterator<Step, undefined>) {
  const steps: Step[] = [];
  const positions: number[] = [];
  const ended = (async () => {
    for await (const step of tail) {
      steps.push(step);
      if (step.node) positions.push(Number(step.node.position));
    }
  })().catch((cause: unknown) => cause);
  onTestFinished(async () => void (await tail.return!()));
  const has = (what: string, enough: () => boolean) => until(what, enough, 15_000);
  return {
    positions,
    ended,
    begun: () => has('it has begun', () => steps.length > 0),
    async until(count: number) {
      await has(`${count} records are there, not ${positions.length}`, () => positions.length >= count);
      return steps.filter(({ node }) => node)[count - 1]!;
    },
    stop: async () => void (await tail.return!()),
  };
}

async function expectAll(reading: ReturnType<typeof read>, count: number): Promise<void> {
  await reading.until(count);
  const [first] = reading.positions;
  expect(reading.positions).toEqual(Array.from({ length: count }, (_, at) => first! + at));
}
