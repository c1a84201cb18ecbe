import { expect, test } from 'vitest';

import { asAdmin, expectRecord, expectRefused } from '../world/auditRecord.ts';
import { PASSWORD, type Person, type World, world } from '../world/server.ts';
import { until } from '../world/wait.ts';

const WRONG = 'not my password';

async function lockOut(here: World, { email }: Person): Promise<void> {
  for (let time = 0; time < 5; time++) await here.signIn(email, WRONG);
  expect((await here.signIn(email, PASSWORD)).errors[0]!.extensions['reason']).toBe('TOO_MANY_ATTEMPTS');
}

const canSignIn = async (here: World, { email }: Person, tenant?: string) =>
  (await here.signIn(email, PASSWORD, tenant)).errors.length === 0;

test('unlockAccount lets a user sign in again, from wherever the attempts came, and is on record', async () => {
  const here = await world({}, {});
  const { id: tenantId, admin } = await here.tenant();
  const member = await here.user(admin, 'MEMBER');
  await lockOut(here, member);

  const answer = await admin.do('unlockAccount', { id: member.id }, 'user { id }');

  expect(answer.data.user).toEqual({ id: member.id });
  await expectRecord(here, admin, answer, {
    action: 'ACCOUNT_UNLOCKED',
    mutation: 'unlockAccount',
    by: asAdmin(admin),
    tenantId,
    resourceId: member.id,
    resourceName: 'A MEMBER',
    severity: 'NOTICE',
  });
  await until('the member can sign in', () => canSignIn(here, member));

  // Once and again.
  await lockOut(here, member);
  await admin.do('unlockAccount', { id: member.id }, 'user { id }');
  await until('the member can sign in', () => canSignIn(here, member));
});

test('an administrator does not unlock the account that another tenant has for the e-mail', async () => {
  const here = await world({}, {});
  const { admin: victim, subdomain } = await here.tenant();
  const input = {
    tenantName: 'Twin',
    subdomain: 'twin-of-mine',
    email: victim.email,
    password: PASSWORD,
    fullName: 'Twin',
  };
  const twin = await here.anybody.do('register', input, 'accessToken user { id }');
  await lockOut(here, victim);

  const id = twin.data.user.id as string;
  const unlocked = await here.anybody.ask(
    'mutation Do($id: ID!) { unlockAccount(input: { id: $id }) { user { id } } }',
    { id },
    { authorization: `Bearer ${twin.data.accessToken}` },
  );
  expect(unlocked.errors).toEqual([]);

  await until('the twin can sign in', () => canSignIn(here, victim, 'twin-of-mine'));
  expect(await canSignIn(here, victim, subdomain)).toBe(false);
});

test('a user of another tenant, or none, is not found', async () => {
  const here = await world({}, {});
  const { admin } = await here.tenant();
  const elsewhere = await here.tenant();

  for (const id of [elsewhere.admin.id, 'no id']) {
    const answer = await admin.do('unlockAccount', { id }, 'user { id }');
    expectRefused(answer, 'USER_NOT_FOUND');
  }
});

test('unlockAccount is for those who may change users', async () => {
  const here = await world({}, {});
  const { id: tenantId, admin } = await here.tenant();
  const member = await here.user(admin, 'MEMBER');

  const answer = await member.do('unlockAccount', { id: member.id }, 'user { id }');

  expectRefused(answer, 'SCOPE_MISSING');
  const read = await admin.ask(
    'query Left($id: String!) { auditLogs(filter: { requestId: $id }) { nodes { action status tenantId } } }',
    { id: answer.requestId },
  );
  expect(read.data.auditLogs.nodes).toEqual([{ action: 'ACCOUNT_UNLOCKED', status: 'FAILURE', tenantId }]);
});
