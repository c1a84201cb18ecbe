import { expect, test } from 'vitest';

import { asAdmin, expectRecord, expectRefused } from '../world/auditRecord.ts';
import { judged, peopleAtRisk } from '../world/detections.ts';
import { holdLog } from '../world/locks.ts';
import type { Person } from '../world/server.ts';

const STATE = 'securityEvent { id state note stateChangedAt stateChangedBy { id } }';

test('an event is open, then acknowledged, then resolved: with who said what, each on record', async () => {
  const { here, admin, event } = await withEvent();
  expect(event).toEqual({
    id: event.id,
    state: 'OPEN',
    note: null,
    stateChangedAt: null,
    stateChangedBy: null,
  });

  const seen = await admin.do('acknowledgeSecurityEvent', { id: event.id, note: ' I look into it ' }, STATE);
  expect(seen.data.securityEvent).toEqual({
    id: event.id,
    state: 'ACKNOWLEDGED',
    note: 'I look into it',
    stateChangedAt: expect.any(String) as string,
    stateChangedBy: { id: admin.id },
  });
  const common = {
    by: asAdmin(admin),
    tenantId: admin.tenantId,
    resourceId: event.id,
    severity: 'NOTICE',
  } as const;
  await expectRecord(here, admin, seen, {
    ...common,
    action: 'SECURITY_EVENT_ACKNOWLEDGED',
    mutation: 'acknowledgeSecurityEvent',
    changes: [
      ['state', 'OPEN', 'ACKNOWLEDGED'],
      ['note', null, 'I look into it'],
    ],
  });

  const done = await admin.do('resolveSecurityEvent', { id: event.id }, STATE);
  expect(done.data.securityEvent).toMatchObject({ state: 'RESOLVED', note: null });
  await expectRecord(here, admin, done, {
    ...common,
    action: 'SECURITY_EVENT_RESOLVED',
    mutation: 'resolveSecurityEvent',
    changes: [
      ['state', 'ACKNOWLEDGED', 'RESOLVED'],
      ['note', 'I look into it', null],
    ],
  });
  const again = await admin.do('resolveSecurityEvent', { id: event.id });
  expectRefused(again, 'STATE_UNCHANGED');
  await expectRecord(here, admin, again, {
    ...common,
    severity: 'WARNING',
    action: 'SECURITY_EVENT_RESOLVED',
    mutation: 'resolveSecurityEvent',
    failure: 'STATE_UNCHANGED',
    details: { input: { id: event.id } },
  });
  expectRefused(await admin.do('acknowledgeSecurityEvent', { id: event.id }), 'STATE_UNCHANGED');
  expect((await eventsOf(admin))[0]).toMatchObject({ state: 'RESOLVED' });
});

test('an open event can be resolved at once, by a super administrator too', async () => {
  const { here, event } = await withEvent();
  const answer = await (await here.root()).do('resolveSecurityEvent', { id: event.id, note: 'Known' }, STATE);
  expect(answer.data.securityEvent).toMatchObject({ state: 'RESOLVED', note: 'Known' });
});

test('of two at once, one wins, and the other is told so: the first time and later', async () => {
  const { here, admin, event } = await withEvent();
  for (const mutation of ['acknowledgeSecurityEvent', 'resolveSecurityEvent']) {
    const log = await holdLog(here.database.admin);
    const both = [1, 2].map(() => admin.do(mutation, { id: event.id }));
    await log.waiting(2);
    await log.release();
    const answers = await Promise.all(both);
    const reasons = answers.flatMap(({ errors }) => errors.map(({ extensions }) => extensions['reason']));
    expect(reasons).toEqual(['STATE_UNCHANGED']);
  }
});

test('what is missing, foreign, a record’s id or no event at all is refused in the same words', async () => {
  const { here, admin, event } = await withEvent();
  const foreign = (await here.tenant('Globex')).admin;
  const { data } = await admin.ask('{ auditLogs { nodes { id action } } }');
  const nodes = data.auditLogs.nodes as { id: string; action: string }[];
  const created = nodes.find(({ action }) => action === 'USER_CREATED')!.id;
  const asEvent = `${created.slice(0, 14)}8${created.slice(15)}`;
  for (const [who, id] of [
    [foreign, event.id],
    [admin, '01a207ea-ad82-87d7-861c-60e63797907f'],
    [admin, nodes[0]!.id],
    [admin, asEvent],
    [admin, 'nonsense'],
  ] as const) {
    for (const mutation of ['acknowledgeSecurityEvent', 'resolveSecurityEvent']) {
      expectRefused(await who.do(mutation, { id }), 'SECURITY_EVENT_NOT_FOUND');
    }
  }
});

test.each(['AUDITOR', 'MEMBER', 'BRANCH_MANAGER'])('a %s changes no event', async (role) => {
  const { here, admin, event } = await withEvent();
  const person = await here.user(admin, role);
  expectRefused(await person.do('acknowledgeSecurityEvent', { id: event.id }), 'SCOPE_MISSING');
});

test('a note has 1 to 500 characters', async () => {
  const { admin, event } = await withEvent();
  for (const note of ['', ' ', 'n'.repeat(501)]) {
    const { errors } = await admin.do('acknowledgeSecurityEvent', { id: event.id, note });
    expect(errors[0]!.extensions).toMatchObject({
      reason: 'INVALID_INPUT',
      fields: { note: expect.any(String) as string },
    });
  }
  expect(
    (await admin.do('acknowledgeSecurityEvent', { id: event.id, note: 'n'.repeat(500) })).errors,
  ).toEqual([]);
});

test('an event’s id leads to the event and a record’s to the record, for those who may see them', async () => {
  const { here, admin, member, event } = await withEvent();
  const foreign = (await here.tenant('Globex')).admin;
  const recordId = `${event.id.slice(0, 14)}7${event.id.slice(15)}`;
  const node = async (who: Pick<Person, 'ask'>, id: string) =>
    (
      await who.ask(
        'query ($id: ID!) { node(id: $id) { __typename id ... on SecurityEvent { log { id } evidence { totalCount nodes { id } } } } }',
        { id },
      )
    ).data?.node as object | null;
  expect(await node(admin, event.id)).toEqual({
    __typename: 'SecurityEvent',
    id: event.id,
    log: { id: recordId },
    // What is no detection is its own evidence.
    evidence: { totalCount: 1, nodes: [{ id: recordId }] },
  });
  expect(await node(admin, recordId)).toEqual({ __typename: 'AuditLog', id: recordId });
  expect(await node(member, event.id)).toMatchObject({ __typename: 'SecurityEvent' });
  expect(await node(member, recordId)).toBeNull();
  expect(await node(foreign, event.id)).toBeNull();
  expect(await node(await here.user(admin, 'BRANCH_MANAGER'), event.id)).toBeNull();
  expect(await node(await here.user(admin, 'MEMBER'), event.id)).toBeNull();
});

test('evidence comes in pages, newest first', async () => {
  const { here, admin, member, fail } = await peopleAtRisk();
  for (let attempt = 1; attempt <= 5; attempt++) await fail(member.email);
  await judged(here);
  const page = async (after: string | null) => {
    const { data } = await admin.ask(
      `query ($after: String) { securityEvents(filter: { actions: [ACCOUNT_BRUTE_FORCE_DETECTED] }) {
        nodes { evidence(first: 3, after: $after) { nodes { id } pageInfo { hasNextPage endCursor } } } } }`,
      { after },
    );
    return data.securityEvents.nodes[0].evidence as {
      nodes: { id: string }[];
      pageInfo: { hasNextPage: boolean; endCursor: string };
    };
  };
  const first = await page(null);
  const second = await page(first.pageInfo.endCursor);
  expect([first.pageInfo.hasNextPage, second.pageInfo.hasNextPage]).toEqual([true, false]);
  const ids = [...first.nodes, ...second.nodes].map(({ id }) => id);
  expect(ids).toHaveLength(5);
  expect(ids).toEqual(ids.toSorted().toReversed());
});

/** A tenant with one security event: a sign-in of its member that failed. */
async function withEvent() {
  const people = await peopleAtRisk();
  await people.fail(people.member.email);
  return { ...people, event: (await eventsOf(people.admin))[0]! };
}

async function eventsOf(reader: Person) {
  const { data, errors } = await reader.ask(
    '{ securityEvents { nodes { id state note stateChangedAt stateChangedBy { id } } } }',
  );
  expect(errors).toEqual([]);
  return data.securityEvents.nodes as { id: string; state: string }[];
}
