import { expect, test } from 'vitest';

import { sessionOf } from '../world/auditRecord.ts';
import { APPENDED, FAILED, livePeople } from '../world/live.ts';
import { allSealed } from '../world/seal.ts';
import { type Answer, PASSWORD, type Person } from '../world/server.ts';

const CLOSED_FORBIDDEN = 4403;
const RACES = 10;
/** From the answer to who took the right away, half of the times. */
const CLOSED_MS = 1_000;

type People = Awaited<ReturnType<typeof livePeople>> & { readonly root: Person };
/** A tenant of the race's own. */
interface Stage extends People {
  readonly tenant: { readonly id: string; readonly subdomain: string; readonly admin: Person };
  readonly branchId: string;
}

interface Race {
  readonly role: string;
  readonly query: string;
  /** Makes one event that the watcher sees while it may, and not one that makes the server look whether it still may. */
  readonly event: (stage: Stage) => Promise<unknown>;
  /** Takes the right away; the first receipt is the record of that. */
  readonly revoke: (stage: Stage, watcher: Person) => Promise<Answer>;
}

const failure = ({ fail, tenant }: Stage) => fail('nobody@example.com', undefined, tenant.subdomain);
const auditor = { role: 'AUDITOR', query: FAILED, event: failure };

const RACES_FOR: Readonly<Record<string, Race>> = {
  'its role changes': {
    ...auditor,
    revoke: ({ tenant: { admin } }, { id }) => admin.do('changeUserRole', { id, role: 'MEMBER' }),
  },
  'it is deactivated': {
    ...auditor,
    revoke: ({ tenant: { admin } }, { id }) => admin.do('deactivateUser', { id, reason: 'Gone' }),
  },
  'its tenant is suspended': {
    ...auditor,
    revoke: ({ root, tenant: { id } }) => root.do('deactivateTenant', { id, reason: 'Unpaid' }),
  },
  'its session is revoked': {
    ...auditor,
    async revoke({ here }, watcher) {
      const { accessToken } = (await here.signIn(watcher.email, PASSWORD)).data;
      const operation =
        'mutation ($input: RevokeSessionInput!) { revokeSession(input: $input) { receipts { id } } }';
      const input = { sessionId: sessionOf(watcher) };
      const answer = await here.anybody.ask(operation, { input }, { authorization: `Bearer ${accessToken}` });
      return { ...answer, data: answer.data?.revokeSession };
    },
  },
  'its branch is taken away': {
    role: 'BRANCH_MANAGER',
    query: APPENDED,
    event: ({ tenant: { admin }, branchId }) =>
      admin.do('updateBranch', { id: branchId, name: String(Math.random()) }),
    revoke: ({ tenant: { admin } }, { id }) => admin.do('setUserBranches', { id, branchIds: [] }),
  },
};

test.each(Object.entries(RACES_FOR))(
  `in ${RACES} races, when %s, nothing past the record of that is delivered and the connection closes with 4403`,
  { timeout: 120_000 },
  async (_what, { role, query, event, revoke }) => {
    const people = { ...(await livePeople()) };
    const root = await people.here.root();
    let delivered = 0;
    const closedMs: number[] = [];
    for (let race = 0; race < RACES; race++) {
      const tenant = await people.here.tenant();
      const branch = await tenant.admin.do('createBranch', { name: 'North', code: 'N' }, 'branch { id }');
      const stage = { ...people, root, tenant, branchId: branch.data.branch.id as string };
      const watcher = await people.here.user(tenant.admin, role);
      if (role === 'BRANCH_MANAGER')
        await tenant.admin.do('setUserBranches', { id: watcher.id, branchIds: [stage.branchId] });
      const stream = await people.listen(watcher, query);
      const done = new AbortController();
      const events = Array.from({ length: 3 }, async () => {
        while (!done.signal.aborted) await event(stage);
      });
      await stream.next();
      const revoked = await revoke(stage, watcher);
      const since = performance.now();
      const { nodes, code } = await stream.rest();
      closedMs.push(performance.now() - since);
      done.abort();
      await Promise.all(events);

      expect([revoked.errors, code]).toEqual([[], CLOSED_FORBIDDEN]);
      // Who is to go is told at once; the record has its position only when it is sealed.
      await allSealed(people.here.database.admin);
      const record = await root.ask(
        'query ($id: ID!) { auditLog(id: $id) { position } }',
        revoked.data.receipts[0],
      );
      const positions = nodes.map((node) => Number(node.position ?? node.log.position));
      expect(positions.filter((position) => position >= Number(record.data.auditLog.position))).toEqual([]);
      delivered += positions.length;
    }
    expect(delivered).toBeGreaterThan(0);
    expect(closedMs.sort((one, other) => one - other)[RACES / 2]).toBeLessThan(CLOSED_MS);
  },
);

test('a stream ends with 4403 within a second of the expiry of its token', async () => {
  const { here, admin, listen } = await livePeople();
  const { tokens } = here.server.house.services;
  const { token, expiresAt } = tokens.sign({
    userId: admin.id,
    sessionId: sessionOf(admin),
    lifetimeSeconds: 2,
  });
  const stream = await listen({ ...admin, token }, APPENDED);
  await admin.do('updateTenant', { id: admin.tenantId, name: 'Seen' });
  await stream.next();
  expect((await stream.rest()).code).toBe(CLOSED_FORBIDDEN);
  const lateMs = Date.now() - Date.parse(expiresAt);
  expect(lateMs).toBeGreaterThan(-100);
  expect(lateMs).toBeLessThan(1_000);
});
