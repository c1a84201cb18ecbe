import { expect, test } from 'vitest';

import type { Database } from '../../src/platform/db.ts';
import { allSealed } from '../world/seal.ts';
import { PASSWORD, type Person, world } from '../world/server.ts';

const REFERENCES = `query References($first: Int!) {
  auditLogs(first: $first, filter: { actions: [USER_CREATED] }) {
    nodes { position actor { name email } user { fullName tenant { name } } tenant { name } details resourceName
      changes { path before after } }
  }
}`;

test('a page with all its references costs as many statements with a hundred records as with one', async () => {
  const here = await world();
  const { admin } = await here.tenant();
  for (let at = 0; at < 100; at++) {
    const input = { email: `user-${at}@example.com`, fullName: `User ${at}`, role: 'MEMBER' };
    await admin.do('createUser', input, 'user { id }');
  }
  await allSealed(here.database.admin);
  const [one, hundred] = [
    await statementsOf(here.server.house.db, () => page(admin, 1)),
    await statementsOf(here.server.house.db, () => page(admin, 100)),
  ];

  expect([one.answer.length, hundred.answer.length]).toEqual([1, 100]);
  for (const [at, node] of hundred.answer.toReversed().entries()) {
    expect(node).toMatchObject({
      position: expect.any(Number) as number,
      actor: { name: 'Admin of Acme', email: admin.email },
      user: { fullName: 'Admin of Acme', tenant: { name: 'Acme' } },
      tenant: { name: 'Acme' },
      resourceName: `User ${at}`,
    });
    expect(node.changes).toContainEqual({ path: 'fullName', before: null, after: `User ${at}` });
  }
  expect(hundred.statements).toEqual(one.statements);
  // How the page is to be planned and, in the same round trip, the page; then positions, keys of personal values, users and tenants.
  expect(one.statements).toBe(6);
  // All in one transaction: one moment, one connection.
  expect([one.transactions, hundred.transactions]).toEqual([1, 1]);
});

test('what one request reads is of one moment: a page and its count agree while records are written', async () => {
  const here = await world();
  const { admin } = await here.tenant();
  const done = new AbortController();
  const writer = (async () => {
    while (!done.signal.aborted) await here.signIn(admin.email, 'wrong password');
  })();
  for (let round = 0; round < 20; round++) {
    const { data } = await admin.ask(
      '{ auditLogs(first: 500) { nodes { id } totalCount countUpTo { value } } }',
    );
    const { nodes, totalCount, countUpTo } = data.auditLogs;
    expect([totalCount, countUpTo.value]).toEqual([nodes.length, nodes.length]);
  }
  done.abort();
  await writer;
});

test('who still sends the token of somebody else can sign in, and an attempt that fails names nobody', async () => {
  const here = await world();
  const [{ admin }, { admin: other }] = [await here.tenant(), await here.tenant('Globex')];
  const login = (password: string) => admin.do('login', { email: other.email, password }, 'user { id }');
  expect((await login(PASSWORD)).data.user).toEqual({ id: other.id });
  expect((await login('wrong password')).errors[0]!.extensions).toMatchObject({
    reason: 'INVALID_CREDENTIALS',
  });
  expect((await admin.do('forgotPassword', { email: other.email })).errors).toEqual([]);

  const { data } = await other.ask(
    '{ auditLogs(first: 3) { nodes { action actor { type email } resourceId } } }',
  );
  expect(data.auditLogs.nodes).toEqual([
    { action: 'PASSWORD_RESET_REQUEST', actor: { type: 'ANONYMOUS', email: null }, resourceId: other.id },
    { action: 'LOGIN_FAILED', actor: { type: 'ANONYMOUS', email: null }, resourceId: other.id },
    { action: 'LOGIN', actor: { type: 'USER', email: other.email }, resourceId: other.id },
  ]);
});

interface Node {
  readonly changes: readonly object[];
}

async function page(reader: Person, first: number): Promise<Node[]> {
  const { data, errors } = await reader.ask(REFERENCES, { first });
  expect(errors).toEqual([]);
  return data.auditLogs.nodes as Node[];
}

/** Counts what is read as a tenant meanwhile. The sealer and the question who asks are the platform's. */
async function statementsOf<T>(db: Database, work: () => Promise<T>) {
  const withReadTx = db.withReadTx.bind(db);
  let [statements, transactions] = [0, 0];
  const counting: Database['withReadTx'] = (tenancy, read, options) =>
    withReadTx(
      tenancy,
      (tx) => {
        if (tenancy === 'PLATFORM') return read(tx);
        transactions++;
        const counted = new Proxy(tx, {
          get(target, name) {
            if (['select', 'selectDistinct', 'execute', '$count'].includes(String(name))) statements++;
            const value = Reflect.get(target, name) as unknown;
            return typeof value === 'function' ? (value.bind(target) as unknown) : value;
          },
        });
        return read(counted);
      },
      options,
    );
  Object.assign(db, { withReadTx: counting });
  try {
    const answer = await work();
    return { answer, statements, transactions };
  } finally {
    Object.assign(db, { withReadTx });
  }
}
