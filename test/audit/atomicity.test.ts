import { expect, test } from 'vitest';

import type { Deed } from '../../src/audit/act.ts';
import { perform } from '../../src/audit/record.ts';
import { tenants } from '../../src/tenants/tables.ts';
import { asAdmin, asRoot, expectRecord, expectRefused } from '../world/auditRecord.ts';
import { businessRows } from '../world/business.ts';
import { type World, world } from '../world/server.ts';

test('a record that cannot be written takes the change with it; what was tried is on record as ERROR', async () => {
  const here = await world();
  const { id, subdomain, admin } = await here.tenant();
  // Raises between the write and its record: the record of a failure passes.
  await here.database.admin.unsafe(`
    create function refuse_success() returns trigger language plpgsql as
      $$ begin if new.status = 'success' then raise exception 'no record of %', new.action; end if; return new; end $$;
    create trigger refuse_success before insert on audit_logs for each row execute function refuse_success()`);
  const before = await businessRows(here.database);

  const input = { id, name: 'Changed' };
  const answer = await admin.do('updateTenant', input);

  expectRefused(answer, 'INTERNAL');
  expect(await businessRows(here.database)).toEqual(before);
  await expectRecord(here, admin, answer, {
    action: 'TENANT_UPDATED',
    mutation: 'updateTenant',
    by: asAdmin(admin),
    tenantId: id,
    resourceId: id,
    resourceName: 'Acme',
    severity: 'ERROR',
    failure: 'INTERNAL',
    details: { input },
  });
  const seen = await admin.ask('query ($id: ID!) { tenant(id: $id) { name subdomain } }', { id });
  expect(seen.data.tenant).toEqual({ name: 'Acme', subdomain });
});

test('of a mutation with two records neither is written without the other, and nothing of its change', async () => {
  const here = await world();
  const root = await here.root();
  await here.database.admin.unsafe(`
    create function refuse_user() returns trigger language plpgsql as
      $$ begin if new.action = 'user.created' then raise exception 'no'; end if; return new; end $$;
    create trigger refuse_user before insert on audit_logs for each row execute function refuse_user()`);
  const before = await businessRows(here.database);

  const input = { tenantName: 'Acme', subdomain: 'acme', email: 'ann@example.com', fullName: 'Ann' };
  const answer = await here.anybody.do('register', { ...input, password: 'correct horse battery' });

  expectRefused(answer, 'INTERNAL');
  expect(await businessRows(here.database)).toEqual(before);
  await expectRecord(here, root, answer, {
    action: 'TENANT_CREATED',
    mutation: 'register',
    tenantId: null,
    severity: 'ERROR',
    failure: 'INTERNAL',
    details: { email: input.email, input },
  });
});

test('a bug in a deed undoes what it did, is masked, and its stack is in the log under the request id', async () => {
  const here = await world();
  const root = await here.root();
  const { id } = await here.tenant();
  const before = await businessRows(here.database);
  const buggy: Deed<'updateTenant'> = async (act) => {
    await act.tx.update(tenants).set({ name: 'Half done' });
    throw new TypeError('secret: 4711 is not a function');
  };

  const input = { id, name: 'Changed' };
  const failed = await attempt(here, buggy, input);

  expect(failed).toMatchObject({
    reason: 'INTERNAL',
    message: expect.not.stringContaining('4711') as string,
  });
  expect(await businessRows(here.database)).toEqual(before);
  const [row] = await here.database.admin`
    select status, failure, severity, details, changes, user_id, request_id from audit_logs where request_id = 'a-bug'`;
  expect(row).toEqual({
    status: 'error',
    failure: 'INTERNAL',
    severity: 3,
    details: { input },
    changes: [],
    user_id: null,
    request_id: 'a-bug',
  });
  const logged = here.log.find(({ requestId, err }) => requestId === 'a-bug' && err !== undefined);
  expect(logged).toMatchObject({ mutation: 'updateTenant' });
  expect((logged!.err as { stack: string }).stack).toContain('atomicity.test.ts');
  const shown = await root.ask(
    '{ auditLogs(filter: { requestId: "a-bug" }) { nodes { failure { message } details } } }',
  );
  expect(JSON.stringify(shown.data)).not.toContain('4711');
});

test('a deed whose personal values cannot be sealed leaves nothing', async () => {
  const here = await world();
  const { admin } = await here.tenant();
  await here.database.admin`revoke insert on subject_keys from custos_app`;
  const before = await businessRows(here.database);

  const input = { email: 'new@example.com', fullName: 'New', role: 'MEMBER' };
  const answer = await admin.do('createUser', input);

  // The failure is about a new person too, so neither can it be put on record.
  expectRefused(answer, 'LOG_NOT_WRITTEN');
  expect(await businessRows(here.database)).toEqual(before);

  await here.database.admin`grant insert on subject_keys to custos_app`;
  expect((await admin.do('createUser', input)).errors).toEqual([]);
});

test('a deed that wrote and forgets its record is refused by the database', async () => {
  const here = await world();
  const { id } = await here.tenant();
  const before = await businessRows(here.database);
  // What the types forbid: a Done without a happening.
  const silent: Deed<'updateTenant'> = async (act) => {
    await act.tx.update(tenants).set({ name: 'Unseen' });
    return { payload: {}, happenings: [] } as never;
  };

  const failed = await attempt(here, silent, { id });

  expect(failed).toMatchObject({ reason: 'INTERNAL', cause: { sqlstate: 'CUS01' } });
  expect(await businessRows(here.database)).toEqual(before);
});

test('a deed that is refused has done nothing, also when it wrote before', async () => {
  const here = await world();
  const root = await here.root();
  const { id } = await here.tenant();
  const other = await here.tenant('Other');
  const before = await businessRows(here.database);

  const input = { id, name: 'First of all', subdomain: other.subdomain };
  const answer = await root.do('updateTenant', input);

  expectRefused(answer, 'SUBDOMAIN_TAKEN');
  expect(await businessRows(here.database)).toEqual(before);
  await expectRecord(here, root, answer, {
    action: 'TENANT_UPDATED',
    mutation: 'updateTenant',
    by: asRoot(root),
    tenantId: id,
    resourceId: id,
    resourceName: 'Acme',
    severity: 'WARNING',
    failure: 'SUBDOMAIN_TAKEN',
    details: { input },
  });
});

test('several mutations of one request are several transactions: what failed takes nothing else with it', async () => {
  const here = await world();
  const { id, admin } = await here.tenant();

  const answer = await admin.ask(
    `mutation Two($id: ID!) {
      good: updateTenant(input: { id: $id, name: "Good" }) { receipts { id } tenant { name } }
      bad: updateTenant(input: { id: $id, subdomain: "-" }) { receipts { id } }
      again: updateTenant(input: { id: $id, name: "Again" }) { receipts { id } tenant { name } }
    }`,
    { id },
  );

  expect(answer.data).toMatchObject({
    good: { tenant: { name: 'Good' } },
    bad: null,
    again: { tenant: { name: 'Again' } },
  });
  expect(answer.errors).toMatchObject([{ path: ['bad'], extensions: { reason: 'INVALID_INPUT' } }]);
  const left = await admin.ask(
    `query ($id: String) { auditLogs(filter: { requestId: $id }, orderBy: { direction: ASC }) {
      nodes { status changes { path before after } context { fieldPath operationName documentHash } } } }`,
    { id: answer.requestId },
  );
  const paths = left.data.auditLogs.nodes.map(
    ({ status, changes, context }: { status: string; changes: unknown; context: { fieldPath: string } }) => [
      status,
      context.fieldPath,
      changes,
    ],
  );
  expect(paths).toEqual([
    ['SUCCESS', 'good', [{ path: 'name', before: 'Acme', after: 'Good' }]],
    ['FAILURE', 'bad', []],
    ['SUCCESS', 'again', [{ path: 'name', before: 'Good', after: 'Again' }]],
  ]);
});

/** Runs a deed of the test's own the way every deed runs; returns what it is refused with. */
async function attempt(
  { server: { house } }: World,
  deed: Deed<'updateTenant'>,
  input: { id: string; name?: string },
): Promise<unknown> {
  const request = {
    id: 'a-bug',
    transport: 'INTERNAL',
    ipAddress: null,
    userAgent: null,
    forwardedFor: null,
  } as const;
  const caller = {
    actor: { type: 'SYSTEM', system: 'test' },
    request,
    read: () => Promise.reject(new Error('It reads in its transaction.')),
  } as const;
  try {
    await perform(house, caller, 'updateTenant', deed, input, {});
  } catch (error) {
    return error;
  }
  throw new Error('The deed succeeded.');
}
