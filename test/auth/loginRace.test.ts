import { expect, test } from 'vitest';
import { holdLog } from '../world/locks.ts';
import { PASSWORD, world } from '../world/server.ts';

test('a sign-in that is overtaken by a shut-out begins no session', async () => {
  const here = await world();
  const { admin } = await here.tenant();
  const user = await here.user(admin, 'MEMBER');
  const log = await holdLog(here.database.admin);
  const leaving = admin.do('deactivateUser', { id: user.id, reason: 'left' }, 'user { id }');
  await log.waiting(1);
  const entering = here.signIn(user.email, PASSWORD);
  await log.waiting(2);
  await log.release();
  const [left, entered] = await Promise.all([leaving, entering]);
  expect(left.errors).toEqual([]);
  expect(entered.errors[0]?.extensions['reason']).toBe('USER_INACTIVE');
  const open = await here.database
    .admin`select id from sessions where user_id = ${user.id} and revoked_at is null`;
  expect(open).toHaveLength(0);
});
