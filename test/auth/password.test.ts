import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';

import { asUser, expectRecord, expectRefused } from '../world/auditRecord.ts';
import { PASSWORD, type World, world } from '../world/server.ts';
import { until } from '../world/wait.ts';

const NEXT = 'another horse battery';
const PROVEN = {
  path: 'emailVerifiedAt',
  before: null,
  after: expect.any(String) as string,
  redaction: null,
};
const SECRET_CHANGE = { path: 'passwordHash', before: null, after: null, redaction: 'SECRET' };

async function scene() {
  const here = await world();
  const { id: tenantId, admin } = await here.tenant();
  const member = await here.user(admin, 'MEMBER');
  return { here, tenantId, admin, member };
}

/** The token of the latest mail to an address whose subject says so. */
async function mailedToken({ dataDir }: World, to: string, subject: string): Promise<string> {
  const folder = path.join(dataDir, 'mail');
  const mails = () =>
    readdirSync(folder)
      .sort()
      .map((file) => readFileSync(path.join(folder, file), 'utf8').replaceAll('=\r\n', ''))
      .filter(
        (mail) => mail.includes(`To: ${to}`) && mail.includes(`Subject: ${subject}`) && /token=/.test(mail),
      );
  await until(`a mail "${subject}" is there`, () => mails().length > 0);
  return /token=(?:3D)?([\w-]{43})/.exec(mails().at(-1)!)![1]!;
}

async function changesOf(here: World, requestId: string) {
  const read = await (
    await here.root()
  ).ask(
    'query Left($id: String!) { auditLogs(filter: { requestId: $id }) { nodes { action status actor { type } changes { path before after redaction } } } }',
    { id: requestId },
  );
  return read.data.auditLogs.nodes as unknown[];
}

test('forgotPassword mails a link and is on record about the account', async () => {
  const { here, tenantId, admin, member } = await scene();

  const answer = await here.anybody.do('forgotPassword', { email: member.email }, 'accepted');

  expect(answer.data.accepted).toBe(true);
  await expectRecord(here, admin, answer, {
    action: 'PASSWORD_RESET_REQUEST',
    mutation: 'forgotPassword',
    tenantId,
    resourceId: member.id,
    resourceName: 'A MEMBER',
    severity: 'NOTICE',
    details: { email: member.email },
  });
  expect(await mailedToken(here, member.email, 'Set a new password')).toHaveLength(43);
});

test('forgotPassword answers the same for nobody, on record for the platform', async () => {
  const { here } = await scene();

  const answer = await here.anybody.do('forgotPassword', { email: 'nobody@nowhere.example' }, 'accepted');

  expect(answer.data.accepted).toBe(true);
  await expectRecord(here, await here.root(), answer, {
    action: 'PASSWORD_RESET_REQUEST',
    mutation: 'forgotPassword',
    tenantId: null,
    severity: 'NOTICE',
    details: { email: 'nobody@nowhere.example' },
  });
});

test('the link sets a password once; all sessions end; the record shows only that it changed', async () => {
  const { here, member } = await scene();
  await here.anybody.do('forgotPassword', { email: member.email }, 'accepted');
  const token = await mailedToken(here, member.email, 'Set a new password');

  const short = await here.anybody.do('resetPassword', { token, newPassword: 'short' }, 'success');
  expectRefused(short, 'PASSWORD_POLICY', { newPassword: 'A password has at least 8 characters.' });
  const common = await here.anybody.do('resetPassword', { token, newPassword: 'PassWord1' }, 'success');
  expectRefused(common, 'PASSWORD_POLICY', {
    newPassword: 'This password is among the most common ones.',
  });
  const uses = await Promise.all(
    Array.from({ length: 10 }, () =>
      here.anybody.do('resetPassword', { token, newPassword: NEXT }, 'success'),
    ),
  );

  const done = uses.filter(({ data }) => data !== null);
  expect(done).toHaveLength(1);
  for (const refused of uses.filter(({ data }) => data === null)) expectRefused(refused, 'TOKEN_INVALID');
  expect(await changesOf(here, done[0]!.requestId)).toEqual([
    {
      action: 'PASSWORD_RESET',
      status: 'SUCCESS',
      actor: { type: 'ANONYMOUS' },
      changes: [PROVEN, SECRET_CHANGE],
    },
  ]);
  expect((await member.ask('{ me { id } }')).errors[0]!.extensions['reason']).toBe('SESSION_REVOKED');
  expectRefused(await here.signIn(member.email, PASSWORD), 'INVALID_CREDENTIALS');
  expect((await here.signIn(member.email, NEXT)).data.user.id).toBe(member.id);
});

test('an expired link, and one of a user who was shut out, set nothing', async () => {
  const { here, admin, member } = await scene();
  await here.anybody.do('forgotPassword', { email: member.email }, 'accepted');
  const token = await mailedToken(here, member.email, 'Set a new password');
  const age = async (interval: string) =>
    here.database.admin.begin(async (sql) => {
      await sql`set local session_replication_role = replica`;
      await sql`update mailed_tokens set expires_at = now() + ${interval}::interval`;
    });

  await age('-1 second');
  const late = await here.anybody.do('resetPassword', { token, newPassword: NEXT }, 'success');
  expectRefused(late, 'TOKEN_EXPIRED');
  await age('1 hour');
  await admin.do('deactivateUser', { id: member.id, reason: 'left' }, 'user { id }');
  const shutOut = await here.anybody.do('resetPassword', { token, newPassword: NEXT }, 'success');
  expectRefused(shutOut, 'USER_INACTIVE');

  for (const { requestId } of [late, shutOut]) {
    expect(await changesOf(here, requestId)).toMatchObject([
      { action: 'PASSWORD_RESET', status: 'FAILURE', changes: [] },
    ]);
  }
});

test('changePassword ends the other sessions and keeps its own', async () => {
  const { here, tenantId, admin, member } = await scene();
  const elsewhere = (await here.signIn(member.email, PASSWORD)).data.accessToken as string;

  const answer = await member.do(
    'changePassword',
    { currentPassword: PASSWORD, newPassword: NEXT },
    'user { id }',
  );

  expect(answer.data.user.id).toBe(member.id);
  expect(await changesOf(here, answer.requestId)).toMatchObject([
    { action: 'PASSWORD_CHANGED', status: 'SUCCESS', changes: [SECRET_CHANGE] },
  ]);
  expect((await member.ask('{ me { id } }')).errors).toEqual([]);
  const other = await member.ask('{ me { id } }', {}, { authorization: `Bearer ${elsewhere}` });
  expect(other.errors[0]!.extensions['reason']).toBe('SESSION_REVOKED');

  const wrong = await member.do(
    'changePassword',
    { currentPassword: PASSWORD, newPassword: 'x'.repeat(20) },
    'user { id }',
  );
  expectRefused(wrong, 'INVALID_CREDENTIALS');
  await expectRecord(here, admin, wrong, {
    action: 'PASSWORD_CHANGED',
    mutation: 'changePassword',
    by: asUser(member, 'MEMBER'),
    tenantId,
    severity: 'WARNING',
    failure: 'INVALID_CREDENTIALS',
  });
});

test('a password hashed at a lower cost is hashed anew at the next sign-in, on record', async () => {
  const { here, member } = await scene();
  const answer = await here.signIn(member.email, PASSWORD);
  expect(await changesOf(here, answer.requestId)).toMatchObject([{ action: 'LOGIN', changes: [] }]);

  // The hash of another cost that the same password has.
  const { openPasswords } = await import('../../src/platform/passwords.ts');
  const { deriveKey } = await import('../../src/platform/crypto.ts');
  const master = Buffer.from(readFileSync(path.join(here.dataDir, 'keys', 'master.key'), 'utf8'), 'base64');
  const passwords = openPasswords({
    pepper: deriveKey(master, 'custos password pepper'),
    cost: 5,
    workers: 1,
  });
  const hash = await passwords.hash(PASSWORD);
  await passwords.stop();
  await here.database.admin.begin(async (sql) => {
    await sql`set local session_replication_role = replica`;
    await sql`update users set password_hash = ${hash} where id = ${member.id}`;
  });

  const rehashed = await here.signIn(member.email, PASSWORD);
  expect(await changesOf(here, rehashed.requestId)).toMatchObject([
    { action: 'LOGIN', changes: [SECRET_CHANGE] },
  ]);
});
