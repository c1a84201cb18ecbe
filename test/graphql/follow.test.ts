import { expect, test } from 'vitest';

import { APPENDED, FAILED, livePeople, RAISED } from '../world/live.ts';
import { PASSWORD, type Person, type World } from '../world/server.ts';

const CLOSED_FORBIDDEN = 4403;
const NEW_PASSWORD = 'another horse battery';

interface Stage {
  readonly here: World;
  readonly root: Person;
  readonly admin: Person;
  /** Who follows. */
  readonly watcher: Person;
}

const revocations: readonly (readonly [string, (stage: Stage) => Promise<unknown>])[] = [
  ['it signs out', ({ watcher }) => watcher.do('logout', undefined)],
  ['it is shut out', ({ admin, watcher }) => admin.do('deactivateUser', { id: watcher.id, reason: 'Gone' })],
  ['it is deleted', ({ admin, watcher }) => admin.do('deleteUser', { id: watcher.id })],
  [
    'it becomes a member',
    ({ admin, watcher }) => admin.do('changeUserRole', { id: watcher.id, role: 'MEMBER' }),
  ],
  [
    'it becomes a manager',
    ({ root, watcher }) => root.do('changeUserRole', { id: watcher.id, role: 'BRANCH_MANAGER' }),
  ],
  [
    'its password is changed elsewhere',
    async ({ here, watcher }) => {
      const { accessToken } = (await here.signIn(watcher.email, PASSWORD)).data;
      const query = `mutation ($input: ChangePasswordInput!) { changePassword(input: $input) { receipts { id } } }`;
      const input = { currentPassword: PASSWORD, newPassword: NEW_PASSWORD };
      return here.anybody.ask(query, { input }, { authorization: `Bearer ${accessToken}` });
    },
  ],
  [
    'its refresh token is used twice',
    async ({ here, watcher: { refreshToken } }) => {
      await here.anybody.do('refreshToken', { refreshToken });
      await here.anybody.do('refreshToken', { refreshToken });
    },
  ],
  [
    'its tenant is shut out',
    ({ root, watcher }) => root.do('deactivateTenant', { id: watcher.tenantId, reason: 'Unpaid' }),
  ],
  ['its tenant is deleted', ({ root, watcher }) => root.do('deleteTenant', { id: watcher.tenantId })],
];

test.each(revocations)(
  'when %s, no later event is delivered and the connection closes with 4403',
  async (_what, revoke) => {
    const stage = await staged();
    const { watcher, fail, listen } = stage;
    const streams = [
      await listen(watcher, FAILED),
      await listen(watcher, APPENDED),
      await listen(watcher, RAISED, { minSeverity: 'WARNING' }),
    ];
    await fail('nobody@example.com', undefined, stage.subdomain);
    for (const stream of streams) expect(idOf(await stream.next())).toEqual(expect.any(String));

    await revoke(stage);
    await fail('nobody@example.com', undefined, stage.subdomain);

    for (const stream of streams) {
      const { nodes, code } = await stream.rest();
      expect(code).toBe(CLOSED_FORBIDDEN);
      // What happened before the revocation may still come: the second sign-in of the same user, or the first refresh.
      expect(nodes.map((node) => node.action ?? node.log.action)).not.toContain('LOGIN_FAILED');
    }
  },
);

test('a super administrator who is shut out follows no more', async () => {
  const { here, root, fail, listen } = await staged();
  const second = await here.user(root, 'SUPER_ADMIN');
  const stream = await listen(second, FAILED);
  await root.do('deactivateUser', { id: second.id, reason: 'Gone' });
  await fail('nobody@example.com');
  expect(await stream.rest()).toEqual({ nodes: [], code: CLOSED_FORBIDDEN });
});

test('a change that leaves the right to follow lets the stream go on', async () => {
  const { here, admin, root, watcher, fail, listen, subdomain } = await staged();
  const stream = await listen(watcher, FAILED);
  await admin.do('changeUserRole', { id: watcher.id, role: 'TENANT_ADMIN' });
  await root.do('updateTenant', { id: watcher.tenantId, name: 'Renamed' });
  const other = (await here.signIn(watcher.email, PASSWORD)).data;
  await here.anybody.ask(
    'mutation { logout { success } }',
    {},
    { authorization: `Bearer ${other.accessToken}` },
  );
  await fail('nobody@example.com', undefined, subdomain);
  expect((await stream.next()).log.action).toBe('LOGIN_FAILED');
});

test('whenever a right is lost among many events, the last one delivered is older than the loss', async () => {
  const { here, admin, fail, listen, subdomain } = await staged();
  let delivered = 0;
  for (let race = 0; race < 15; race++) {
    const watcher = await here.user(admin, 'AUDITOR');
    const stream = await listen(watcher, FAILED);
    const done = new AbortController();
    const failing = Array.from({ length: 3 }, async () => {
      while (!done.signal.aborted) await fail('nobody@example.com', undefined, subdomain);
    });
    await stream.next();
    const { data } = await admin.do('changeUserRole', { id: watcher.id, role: 'MEMBER' });
    const { nodes, code } = await stream.rest();
    done.abort();
    await Promise.all(failing);

    expect(code).toBe(CLOSED_FORBIDDEN);
    const record = await admin.ask('query ($id: ID!) { auditLog(id: $id) { position } }', data.receipts[0]);
    const { position } = record.data.auditLog as { position: number };
    expect(nodes.filter(({ log }) => log.position > position)).toEqual([]);
    delivered += nodes.length;
  }
  expect(delivered).toBeGreaterThan(0);
});

function idOf({ id, log }: { id?: string; log?: { id: string } }): string | undefined {
  return id ?? log?.id;
}

async function staged() {
  const people = await livePeople();
  const { here, admin, own } = people;
  const root = await here.root();
  const watcher = await here.user(admin, 'AUDITOR');
  return { ...people, root, watcher, subdomain: own.subdomain };
}
