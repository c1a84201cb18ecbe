import { buildSchema, type ConstDirectiveNode, type GraphQLEnumType } from 'graphql';
import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

import { idAt, isoOf, openClock } from '../../src/platform/ids.ts';
import { writeLogRows } from '../world/logRows.ts';
import { type Answer, type Person, world } from '../world/server.ts';

const NOBODY = '00000000-0000-4000-8000-0000000000ff';

test('auditLog gives a record of the own tenant, and null for everything else', async () => {
  const { admin, auditor, foreign } = await twoTenants();
  const [own, theirs] = [await newest(admin), await newest(foreign.admin)];
  const one = (id: string) => auditor.ask('query One($id: ID!) { auditLog(id: $id) { id action } }', { id });

  expect((await one(own.id)).data.auditLog).toEqual({ id: own.id, action: own.action });
  expect((await one(own.id.toUpperCase())).data.auditLog.id).toBe(own.id);
  for (const id of [theirs.id, NOBODY, 'no id', '', auditor.id]) {
    const { data, errors } = await one(id);
    expect([id, data, errors]).toEqual([id, { auditLog: null }, []]);
  }
});

test('node finds users, tenants and records by id, as far as the caller may see them', async () => {
  const { here, admin, auditor, member, tenantId, foreign } = await twoTenants();
  const root = await here.root();
  const own = await newest(admin);
  const typeOf = async (person: Person, id: string) => {
    const answer = await person.ask('query Node($id: ID!) { node(id: $id) { __typename id } }', { id });
    expect(answer.errors).toEqual([]);
    expect([null, { __typename: expect.any(String) as string, id }]).toContainEqual(answer.data.node);
    return (answer.data.node?.__typename ?? null) as string | null;
  };
  const seenBy = (person: Person) =>
    Promise.all([auditor.id, member.id, tenantId, own.id].map((id) => typeOf(person, id)));

  for (const reader of [root, admin, auditor]) {
    expect(await seenBy(reader)).toEqual(['User', 'User', 'Tenant', 'AuditLog']);
  }
  expect(await seenBy(member)).toEqual([null, 'User', 'Tenant', null]);
  expect(await seenBy(foreign.admin)).toEqual([null, null, null, null]);
  expect(await Promise.all([NOBODY, 'no id', root.id].map((id) => typeOf(auditor, id)))).toEqual([
    null,
    null,
    null,
  ]);
});

test('a member who sees a record about itself does not see, through it, the profile of who acted', async () => {
  const { admin, member } = await twoTenants();
  await admin.do('changeUserRole', { id: member.id, role: 'AUDITOR' });
  await admin.do('changeUserRole', { id: member.id, role: 'MEMBER' });
  const { data } = await member.ask(
    '{ securityEvents { nodes { log { userId actor { name } user { email } } } } }',
  );
  expect(data.securityEvents.nodes).toHaveLength(2);
  for (const { log } of data.securityEvents.nodes) {
    expect(log).toEqual({ userId: admin.id, actor: { name: 'Admin of Acme' }, user: null });
  }
});

test('the catalogue is what the SDL says of its actions', async () => {
  const { member } = await twoTenants();
  const { data } = await member.ask(
    '{ auditActionCatalog { action key category resource severity security description emittedBy } }',
  );
  const folder = new URL('../../schema/', import.meta.url);
  const files = readdirSync(folder).filter((file) => file.endsWith('.graphql'));
  const sdl = buildSchema(files.map((file) => readFileSync(new URL(file, folder), 'utf8')).join('\n'));
  const actions = (sdl.getType('AuditAction') as GraphQLEnumType).getValues();
  const mutations = Object.values(sdl.getMutationType()!.getFields());

  const emitting = (action: string) =>
    mutations
      .filter(({ astNode }) =>
        astNode!.directives!.some((each) => Object.values(argumentsOf(each)).includes(action)),
      )
      .map(({ name }) => name);
  const said = actions.map(({ name, description, astNode }) => {
    const facts = argumentsOf(astNode!.directives!.find((directive) => directive.name.value === 'event')!);
    return {
      action: name,
      key: facts['key'],
      category: facts['key']!.split('.', 1)[0]!.toUpperCase(),
      resource: facts['resource'],
      severity: facts['severity'] ?? 'INFO',
      security: facts['security'] === 'true',
      description,
      emittedBy: [...emitting(name), ...(facts['emitter'] ? [facts['emitter']] : [])],
    };
  });
  type Info = { action: string; emittedBy: string[] };
  const inOrder = (infos: Info[]) =>
    infos
      .map((info) => ({ ...info, emittedBy: info.emittedBy.toSorted() }))
      .toSorted((one, two) => (one.action < two.action ? -1 : 1));
  expect(inOrder(data.auditActionCatalog as Info[])).toEqual(inOrder(said));
  expect(actions.length).toBeGreaterThan(15);
});

test('a span of time takes its first moment in and leaves its last out, to the microsecond', async () => {
  const { here, admin, tenantId } = await twoTenants();
  const start = openClock().now() - 1_000_000_000n;
  const moments = [-1n, 0n, 1n, 998n, 999n, 1_000n, 1_001n].map((by) => start + by);
  await writeLogRows(
    here.database.admin,
    moments.map((micros) => rowAt(tenantId, micros)),
  );
  const within = async (from: bigint, to: bigint) => {
    const range = { from: isoOf(from), to: isoOf(to) };
    const { data } = await admin.ask(
      'query ($range: DateTimeRange!) { auditLogs(filter: { createdAt: $range }, last: 50) { nodes { createdAt } } }',
      { range },
    );
    return data.auditLogs.nodes.map(({ createdAt }: { createdAt: string }) => createdAt).toReversed();
  };
  for (const from of moments) {
    for (const to of moments) {
      const inside = moments.filter((micros) => from <= micros && micros < to);
      expect(await within(from, to)).toEqual(inside.map(isoOf));
    }
  }
});

test('a page size, a filter or a bound that is not allowed is refused with the name of what is wrong', async () => {
  const { admin } = await twoTenants();
  const table: [object, object][] = [
    [{ first: 0 }, { first: 'must be from 1 to 500' }],
    [{ first: 501 }, { first: 'must be from 1 to 500' }],
    [{ last: -1 }, { last: 'must be from 1 to 500' }],
    [
      { first: 0, last: 501 },
      { first: 'must be from 1 to 500', last: 'excludes first' },
    ],
    [{ first: 1, last: 1 }, { last: 'excludes first' }],
    [{ filter: { not: { not: { not: { not: { not: {} } } } } } }, { filter: 'may nest 5 deep' }],
    [{ filter: { or: Array.from({ length: 101 }, () => ({})) } }, { filter: 'may hold 100 conditions' }],
    [{ max: 0 }, { max: 'must be from 1 to 1000000' }],
    [{ max: 1_000_001 }, { max: 'must be from 1 to 1000000' }],
  ];
  for (const [variables, fields] of table) {
    const { data, errors } = await admin.ask(LIST, variables);
    expect(data).toBeNull();
    expect(errors[0]!.extensions).toMatchObject({ code: 'BAD_USER_INPUT', reason: 'INVALID_INPUT', fields });
  }
});

test('a cursor that is malformed, or of another filter, order, list or reader, is a bad cursor', async () => {
  const { here, admin, foreign } = await twoTenants();
  const root = await here.root();
  await here.signIn(admin.email, 'wrong password');
  const filter = { statuses: ['SUCCESS'] };
  const mine = await cursorOf(admin.ask(LIST, { filter }));
  const [tag] = JSON.parse(Buffer.from(mine, 'base64url').toString()) as [string];
  const forged = (...parts: unknown[]) => Buffer.from(JSON.stringify([tag, ...parts])).toString('base64url');
  const bad = {
    empty: '',
    'no base64': '!',
    'too long': 'a'.repeat(10_000),
    'cut short': mine.slice(0, -1),
    padded: `${mine}=`,
    'another filter': await cursorOf(admin.ask(LIST, {})),
    'another order': await cursorOf(admin.ask(LIST, { filter, orderBy: { direction: 'ASC' } })),
    'another list': await cursorOf(admin.ask('{ list: users { edges { cursor } } }')),
    'failed logins': await cursorOf(admin.ask('{ list: failedLoginAttempts { edges { cursor } } }')),
    'another tenant': await cursorOf(foreign.admin.ask(LIST, { filter })),
    'the platform': await cursorOf(root.ask(LIST, { filter })),
    'no value': forged(),
    'a number': forged(1),
    'no id': forged('x'),
    'an id without a time': forged(NOBODY),
  };
  for (const [what, cursor] of Object.entries(bad)) {
    for (const side of ['after', 'before']) {
      const { data, errors } = await admin.ask(LIST, { filter, [side]: cursor });
      expect([what, data, errors[0]?.extensions['code'], errors[0]?.extensions['reason']]).toEqual([
        what,
        null,
        'BAD_CURSOR',
        'CURSOR_MISMATCH',
      ]);
    }
  }
  // Whatever is made up, it is a place in the own list and no way out of it.
  const elsewhere = await admin.ask(LIST, { filter, after: forged(idAt(openClock().now())) });
  expect(elsewhere.data.list.edges.length).toBeGreaterThan(0);
});

const LIST = `query List($filter: AuditLogFilter, $orderBy: AuditLogOrder, $first: Int, $after: String, $last: Int,
    $before: String, $max: Int! = 10) {
  list: auditLogs(filter: $filter, orderBy: $orderBy, first: $first, after: $after, last: $last, before: $before) {
    edges { cursor }
    countUpTo(max: $max) { value }
  }
}`;

async function cursorOf(asked: Promise<Answer>): Promise<string> {
  const { data } = await asked;
  return data.list.edges[0].cursor as string;
}

async function newest(reader: Person): Promise<{ id: string; action: string }> {
  const { data } = await reader.ask('{ auditLogs(first: 1) { nodes { id action } } }');
  return data.auditLogs.nodes[0] as { id: string; action: string };
}

function rowAt(tenantId: string, micros: bigint) {
  const absent = { userId: null, resourceId: null, ipAddress: null };
  const facts = { action: 'LOGIN', status: 'SUCCESS', severity: 0, requestId: 'r' } as const;
  return { ...facts, ...absent, tenantId, id: idAt(micros), micros };
}

function argumentsOf(directive: ConstDirectiveNode): Record<string, string> {
  const given = (directive.arguments ?? []).map(({ name, value }) => [
    name.value,
    'value' in value && String(value.value),
  ]);
  return Object.fromEntries(given) as Record<string, string>;
}

async function twoTenants() {
  const here = await world();
  const { id: tenantId, admin } = await here.tenant();
  const foreign = await here.tenant('Globex');
  const [auditor, member] = [await here.user(admin, 'AUDITOR'), await here.user(admin, 'MEMBER')];
  return { here, tenantId, admin, auditor, member, foreign };
}
