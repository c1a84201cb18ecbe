/** Programs that act with a key: what they may, what they may not, and the events they record. */
import { expect, test } from 'vitest';

import { bearer, post, type Person, type World, world } from '../world/server.ts';
import { allSigned } from '../world/seal.ts';
import { clientOf } from '../world/live.ts';
import { type LiveStep, subscribe } from '../world/socket.ts';

const SOLD = {
  type: 'object',
  properties: { amount: { type: 'number', minimum: 0 }, currency: { enum: ['CHF', 'EUR'] } },
  required: ['amount', 'currency'],
  additionalProperties: false,
};
const data = { amount: 12.5, currency: 'CHF' };

async function stage() {
  const here = await world();
  const { admin, id: tenantId } = await here.tenant('Acme');
  await admin.do('registerEventType', { name: 'shop.sold', schema: SOLD });
  return { here, admin, tenantId, key: await keyOf(admin, ['EVENTS_WRITE']) };
}

async function keyOf(by: Person, scopes: readonly string[], more: object = {}) {
  const made = await by.do('createApiKey', { name: 'Shop', scopes, ...more }, 'apiKey { id hint } key');
  expect(made.errors).toEqual([]);
  return { key: made.data.key as string, ...(made.data.apiKey as { id: string; hint: string }) };
}

function speakerOf(here: World, { key }: { readonly key: string }) {
  return (query: string, variables: object = {}) => post(here.url, { query, variables }, bearer(key));
}

const RECORD = `mutation ($input: RecordAuditEventsInput!) { recordAuditEvents(input: $input) {
  recorded duplicates events { id idempotencyKey isDuplicate } receipts { id action } } }`;

test('an event is a record like all others: by the program, with its data, proven and followed live', async () => {
  const { here, admin, key } = await stage();
  const steps = subscribe<LiveStep>(
    clientOf(here, admin.token),
    `subscription { live: auditLogAppended(filter: { actions: [EXTERNAL_EVENT] }) { cursor node { id } } }`,
  );
  await steps.next();
  const event = {
    type: 'shop.sold',
    idempotencyKey: 'order-1',
    occurredAt: '2026-01-02T03:04:05.678Z',
    actor: { id: 'customer-7', name: 'Carla Customer', email: 'carla@example.com' },
    resource: { type: 'order', id: '1', name: 'Order 1' },
    data,
  };
  const { data: answer, errors } = await speakerOf(here, key)(RECORD, { input: { events: [event] } });
  expect(errors).toEqual([]);
  const { recorded, duplicates, events, receipts } = answer.recordAuditEvents;
  expect([recorded, duplicates, receipts.length]).toEqual([1, 0, 1]);
  await allSigned(here.database.admin);
  const { data: read } = await admin.ask(
    `{ auditLog(id: "${events[0].id as string}") { action actionKey category status actor { type id name } resource resourceName
      details position proof { leafIndex } } }`,
  );
  expect(read.auditLog).toMatchObject({
    action: 'EXTERNAL_EVENT',
    actionKey: 'external.event',
    category: 'EXTERNAL',
    status: 'SUCCESS',
    actor: { type: 'API_KEY', id: key.id, name: 'Shop' },
    resource: 'EVENT',
    resourceName: 'Order 1',
    details: {
      type: 'shop.sold',
      version: 1,
      idempotencyKey: 'order-1',
      resource: { type: 'order', id: '1' },
      actor: { id: 'customer-7', name: 'Carla Customer', email: 'carla@example.com' },
      data,
    },
  });
  const [{ node }] = (await steps.until((step) => step.node !== null)).slice(-1) as [LiveStep];
  expect(node!.id).toBe(events[0].id);
  // What names people is sealed, not in clear.
  const [row] = await here.database
    .admin`select details::text as details from audit_logs where id = ${events[0].id as string}`;
  expect(row!['details']).not.toContain('Carla');
});

test('an event that comes again is not recorded again, in one batch, in two, or in two at once', async () => {
  const { here, admin, key } = await stage();
  const speak = speakerOf(here, key);
  const event = (idempotencyKey: string) => ({ type: 'shop.sold', idempotencyKey, data });
  const send = async (keys: readonly string[]) =>
    (await speak(RECORD, { input: { events: keys.map(event) } })).data.recordAuditEvents;
  const first = await send(['a', 'b', 'a']);
  expect(first).toMatchObject({ recorded: 2, duplicates: 1 });
  expect(first.events[2]).toEqual({ ...first.events[0], isDuplicate: true });
  const second = await send(['b', 'c']);
  expect(second).toMatchObject({ recorded: 1, duplicates: 1 });
  expect(second.events[0]).toEqual({ ...first.events[1], isDuplicate: true });
  const many = Array.from({ length: 200 }, (_, at) => `many-${at}`);
  const both = await Promise.all([send(many), send(many.toReversed())]);
  expect(both.map(({ recorded, duplicates }) => recorded + duplicates)).toEqual([200, 200]);
  expect(both[0].recorded + both[1].recorded).toBe(200);
  const { data: read } = await admin.ask(
    '{ auditLogs(filter: { actions: [EXTERNAL_EVENT] }) { totalCount } }',
  );
  expect(read.auditLogs.totalCount).toBe(203);
});

test('a batch with one bad event is refused as a whole, with what is wrong with which', async () => {
  const { here, admin, key } = await stage();
  const speak = speakerOf(here, key);
  const fieldsOf = async (...events: object[]) => {
    const { errors } = await speak(RECORD, { input: { events } });
    return errors[0]!.extensions['fields'];
  };
  const good = { type: 'shop.sold', idempotencyKey: 'good', data };
  expect(
    await fieldsOf(good, { ...good, idempotencyKey: 'bad', data: { amount: -1, currency: 'CHF' } }),
  ).toEqual({
    'events.1.data.amount': 'must be >= 0',
  });
  expect(await fieldsOf(good, { ...good, type: 'shop.unknown' })).toEqual({
    'events.1.type': 'is not registered (registerEventType)',
  });
  expect(await fieldsOf({ ...good, version: 2 })).toEqual({
    'events.0.version': 'is not registered (registerEventType)',
  });
  expect(await fieldsOf({ ...good, idempotencyKey: '' })).toEqual({
    'events.0.idempotencyKey': 'must not be empty',
  });
  expect(await fieldsOf({ ...good, data: { blob: 'x'.repeat(9_000) } })).toEqual({
    'events.0.data': 'must have at most 8 KiB',
  });
  expect(await fieldsOf()).toEqual({ events: 'must hold at least one' });
  const { data: read } = await admin.ask(
    '{ auditLogs(filter: { actions: [EXTERNAL_EVENT] }) { totalCount } }',
  );
  expect(read.auditLogs.totalCount).toBe(0);
});

test('a type has versions: the newest counts unless another is named, and none is ever changed', async () => {
  const { here, admin, key } = await stage();
  const speak = speakerOf(here, key);
  const next = { ...SOLD, required: ['amount'] };
  const registered = await admin.do(
    'registerEventType',
    { name: 'shop.sold', schema: next },
    'eventType { version }',
  );
  expect(registered.data.eventType.version).toBe(2);
  const again = await admin.do('registerEventType', { name: 'shop.sold', schema: next });
  expect(again.errors[0]!.extensions['reason']).toBe('STATE_UNCHANGED');
  const send = async (more: object) =>
    (await speak(RECORD, { input: { events: [{ type: 'shop.sold', data: { amount: 1 }, ...more }] } })).errors
      .length;
  expect([await send({ idempotencyKey: '1' }), await send({ idempotencyKey: '2', version: 1 })]).toEqual([
    0, 1,
  ]);
  const { data: read } = await admin.ask('{ eventTypes { name version schema } }');
  expect(read.eventTypes).toEqual([
    { name: 'shop.sold', version: 2, schema: next },
    { name: 'shop.sold', version: 1, schema: SOLD },
  ]);
});

test.each([
  ['no schema', 'text', 'must be an object'],
  ['a pattern', { properties: { a: { pattern: '(a+)+$' } } }, 'must not hold pattern'],
  ['a type that is none', { type: 'money' }, expect.stringContaining('must be a JSON Schema')],
  [
    'a reference elsewhere',
    { $ref: 'https://evil.example/schema' },
    expect.stringContaining("can't resolve"),
  ],
  ['very much', { description: 'x'.repeat(17_000) }, 'must have at most 16384 characters'],
])('%s is no schema of events', async (_what, schema, fault) => {
  const { admin } = await stage();
  const { errors } = await admin.do('registerEventType', { name: 'a.b', schema });
  expect(errors[0]!.extensions['fields']).toEqual({ schema: fault });
});

test('a key does what its scopes say, in its tenant, and nothing else; nobody makes one that may more than they', async () => {
  const { here, admin, key } = await stage();
  const foreign = await here.tenant('Globex');
  const reader = await keyOf(admin, ['AUDIT_READ', 'SECURITY_READ']);
  const read = speakerOf(here, reader);
  const { data: seen, errors } = await read(
    '{ auditLogs(first: 100) { nodes { tenantId } } securityEvents { totalCount } }',
  );
  expect(errors).toEqual([]);
  expect(new Set(seen.auditLogs.nodes.map(({ tenantId }: { tenantId: string }) => tenantId))).toEqual(
    new Set([admin.tenantId]),
  );
  const reasonOf = async (speak: typeof read, query: string, variables: object = {}) =>
    (await speak(query, variables)).errors[0]?.extensions['reason'];
  for (const query of [
    '{ users { totalCount } }',
    '{ me { id } }',
    '{ webhooks { id } }',
    '{ apiKeys { id } }',
  ])
    expect([query, await reasonOf(read, query)]).toEqual([query, 'SCOPE_MISSING']);
  const events = [{ type: 'shop.sold', idempotencyKey: '1', data }];
  expect(await reasonOf(read, RECORD, { input: { events } })).toBe('SCOPE_MISSING');
  const write = speakerOf(here, key);
  expect(await reasonOf(write, '{ auditLogs { totalCount } }')).toBe('SCOPE_MISSING');
  expect(await reasonOf(write, RECORD, { input: { tenantId: foreign.id, events } })).toBe('TENANT_NOT_FOUND');
  // What was refused is on record, by the program.
  const { data: log } = await admin.ask(
    '{ auditLogs(filter: { actions: [AUDIT_EVENTS_RECORDED], statuses: [FAILURE] }) { nodes { actor { type name } } } }',
  );
  expect(log.auditLogs.nodes).toEqual([
    { actor: { type: 'API_KEY', name: 'Shop' } },
    { actor: { type: 'API_KEY', name: 'Shop' } },
  ]);
});

test('a key that is revoked, over, unknown or of a tenant that was shut out is nobody’s, from the next request on', async () => {
  const { here, admin, tenantId, key } = await stage();
  const root = await here.root();
  const speak = speakerOf(here, key);
  const events = [{ type: 'shop.sold', idempotencyKey: '1', data }];
  const reasonOf = async (who = speak) =>
    (await who(RECORD, { input: { events } })).errors[0]?.extensions['reason'];
  expect(await reasonOf()).toBeUndefined();
  await root.do('deactivateTenant', { id: tenantId, reason: 'Unpaid' });
  expect(await reasonOf()).toBe('TENANT_INACTIVE');
  await root.do('activateTenant', { id: tenantId });
  expect(await reasonOf()).toBeUndefined();
  await admin.do('revokeApiKey', { id: key.id });
  expect(await reasonOf()).toBe('TOKEN_INVALID');
  expect(await reasonOf(speakerOf(here, { key: `${key.key}x` }))).toBe('TOKEN_INVALID');
  const short = await keyOf(admin, ['EVENTS_WRITE'], { expiresAt: '2099-01-01T00:00:00Z' });
  await here.database.admin.begin(async (sql) => {
    await sql`set local session_replication_role = replica`;
    await sql`update api_keys set expires_at = now() where id = ${short.id}`;
  });
  expect(await reasonOf(speakerOf(here, short))).toBe('TOKEN_INVALID');
});

test('a key is shown once and kept as a hash; what it could not be is refused', async () => {
  const { here, admin, key } = await stage();
  expect(key.key).toMatch(/^custos_[\w-]{43}$/);
  expect(key.key.startsWith(key.hint)).toBe(true);
  const { data: listed } = await admin.ask('{ apiKeys { id hint scopes createdBy { id } } }');
  expect(listed.apiKeys).toEqual([
    { id: key.id, hint: key.hint, scopes: ['EVENTS_WRITE'], createdBy: { id: admin.id } },
  ]);
  const [row] = await here.database.admin`select t::text as row from api_keys t`;
  expect(row!['row']).not.toContain(key.key.slice(key.hint.length));
  const fieldsOf = async (input: object) =>
    (await admin.do('createApiKey', { name: 'K', scopes: ['AUDIT_READ'], ...input })).errors[0]!.extensions[
      'fields'
    ];
  expect(await fieldsOf({ scopes: ['USERS_WRITE'] })).toHaveProperty('scopes.0');
  expect(await fieldsOf({ scopes: [] })).toEqual({ scopes: 'must name at least one' });
  expect(await fieldsOf({ expiresAt: '2020-01-01T00:00:00Z' })).toEqual({
    expiresAt: 'must be in the future',
  });
});
