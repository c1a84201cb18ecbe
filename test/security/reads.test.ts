/** Who read the log: noted before it is answered, and put on record by its hash. */
import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';

import { digest, digestOf } from '../../src/audit/reads.ts';
import { bearer, post, type Person, world } from '../world/server.ts';
import { clientOf } from '../world/live.ts';
import { type LiveStep, subscribe } from '../world/socket.ts';

async function readsOf(person: Person, args = '') {
  const { data, errors } = await person.ask(
    `{ auditReads${args} { id tenantId readerType readerId reader { id } kind query args ipAddress userAgent requestId } }`,
  );
  expect(errors).toEqual([]);
  return data.auditReads as { query: string; kind: string; args: object; id: string; readerId: string }[];
}

test('a query is noted once in ten minutes for each reader and filter, however its pages are asked for', async () => {
  const here = await world();
  const { admin, id: tenantId } = await here.tenant();
  const auditor = await here.user(admin, 'AUDITOR');
  const failures = '(filter: { statuses: [FAILURE] })';
  const first = await admin.ask('{ auditLogs(first: 5) { pageInfo { endCursor } } }');
  await admin.ask(
    `{ auditLogs(first: 9, after: "${first.data.auditLogs.pageInfo.endCursor as string}") { totalCount } }`,
  );
  await admin.ask('{ auditLogs { totalCount } }');
  await admin.ask(`{ auditLogs${failures} { totalCount } }`);
  await auditor.ask(`{ a: auditLogs${failures} { totalCount } b: auditLogs${failures} { totalCount } }`);
  const reads = await readsOf(admin);
  expect(reads.map(({ readerId, query, args }) => [readerId, query, args])).toEqual([
    [auditor.id, 'auditLogs', { filter: { statuses: ['FAILURE'] } }],
    [admin.id, 'auditLogs', { filter: { statuses: ['FAILURE'] } }],
    [admin.id, 'auditLogs', {}],
  ]);
  expect(reads[2]).toMatchObject({
    tenantId,
    readerType: 'USER',
    reader: { id: admin.id },
    kind: 'QUERY',
    requestId: first.requestId,
  });
  expect(await readsOf(admin, `(readerId: "${auditor.id}")`)).toEqual([reads[0]]);
  expect(await readsOf(admin, `(first: 1, before: "${reads[0]!.id}")`)).toEqual([reads[1]]);
});

test('every way to read is noted: one record, events, history, a node, a stream and a file, also by a program', async () => {
  const here = await world();
  const { admin, id: tenantId } = await here.tenant();
  await here.signIn(admin.email, 'wrong password');
  const { data } = await admin.ask('{ auditLogs(first: 1) { nodes { id } } }');
  const id = data.auditLogs.nodes[0].id as string;
  for (const query of [
    `{ auditLog(id: "${id}") { id } }`,
    `{ node(id: "${id}") { id } }`,
    '{ auditFeed(first: 1) { hasMore } }',
    '{ securityEvents { totalCount } }',
    '{ failedLoginAttempts(email: "somebody@example.com") { totalCount } }',
    `{ resourceHistory(resource: USER, id: "${admin.id}") { totalCount } }`,
    '{ auditStatistics { tenantId } }',
  ])
    expect([query, (await admin.ask(query)).errors]).toEqual([query, []]);
  for (let time = 1; time <= 2; time++) {
    const steps = subscribe<LiveStep>(
      clientOf(here, admin.token),
      'subscription { live: auditLogAppended { cursor node { id } } }',
    );
    await steps.next();
    await fetch(`${here.url}/audit/${tenantId}/export.ndjson`, { headers: bearer(admin.token) }).then((r) =>
      r.text(),
    );
  }
  const made = await admin.do(
    'createApiKey',
    { name: 'Reader', scopes: ['AUDIT_READ'] },
    'apiKey { id } key',
  );
  await post(here.url, { query: '{ auditLogs { totalCount } }' }, bearer(made.data.key as string));

  const reads = await readsOf(admin);
  const counts: Record<string, number> = {};
  for (const { kind, query } of reads) counts[`${kind} ${query}`] = (counts[`${kind} ${query}`] ?? 0) + 1;
  expect(counts).toEqual({
    'QUERY auditLogs': 2,
    'QUERY auditLog': 1,
    'QUERY node': 1,
    'QUERY auditFeed': 1,
    'QUERY securityEvents': 1,
    'QUERY failedLoginAttempts': 1,
    'QUERY resourceHistory': 1,
    'QUERY auditStatistics': 1,
    'STREAM auditLogAppended': 2,
    'FILE export.ndjson': 2,
  });
  expect(reads[0]).toMatchObject({ readerType: 'API_KEY', readerId: made.data.apiKey.id, reader: null });
  expect(reads.find(({ query }) => query === 'failedLoginAttempts')!.args).toEqual({
    email: '(not kept)',
    hours: 24,
  });
});

test('what a super administrator reads of a tenant is in the tenant’s list, and what they read of all in the platform’s', async () => {
  const here = await world();
  const root = await here.root();
  const { admin, id } = await here.tenant();
  await root.ask(`{ auditLogs(filter: { tenantId: "${id}" }) { totalCount } }`);
  await root.ask('{ auditLogs { totalCount } }');
  expect((await readsOf(admin)).map(({ readerId }) => readerId)).toEqual([root.id]);
  expect((await readsOf(root)).map(({ args }) => args)).toEqual([{}]);
});

test('who may not read is not noted, and what cannot be noted is not read', async () => {
  const here = await world();
  const { admin } = await here.tenant();
  const member = await here.user(admin, 'MEMBER');
  expect((await member.ask('{ auditLogs { totalCount } }')).errors[0]!.extensions['reason']).toBe(
    'SCOPE_MISSING',
  );
  expect(await readsOf(admin)).toEqual([]);
  await here.database.admin`revoke insert on audit_reads from custos_app`;
  const { data, errors } = await admin.ask('{ auditLogs { totalCount } }');
  expect([data, errors.length]).toEqual([null, 1]);
});

test('the notes of a day are on record by their hash, once, and cannot be changed', async () => {
  const here = await world();
  const { admin, id: tenantId } = await here.tenant();
  await admin.ask('{ auditLogs { totalCount } }');
  await admin.ask('{ securityEvents { totalCount } }');
  const { house } = here.server;
  const day = new Date().toISOString().slice(0, 10);
  const expected = await house.db.withReadTx({ tenantId }, (tx) => digestOf(tx, tenantId, day));
  await digest(house, day);
  await digest(house, day);
  const { data } = await admin.ask(
    '{ auditLogs(filter: { actions: [AUDIT_READS_SEALED] }) { nodes { details } } }',
  );
  expect(data.auditLogs.nodes).toEqual([{ details: { day, ...expected } }]);
  expect(expected).toEqual({ reads: 2, sha256: expect.stringMatching(/^[0-9a-f]{64}$/) });
  expect(expected.sha256).not.toBe(createHash('sha256').digest('hex'));
  const { admin: sql } = here.database;
  for (const change of [
    'update audit_reads set query = query',
    'delete from audit_reads',
    'truncate audit_reads',
  ])
    await expect(sql.unsafe(change)).rejects.toMatchObject({ code: '42501' });
});
