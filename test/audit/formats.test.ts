/** Records as other systems read them. */
import { Ajv } from 'ajv';
import { expect, test } from 'vitest';

import { rendered } from '../../src/audit/formats.ts';
import { AUDIT_CATALOGUE } from '../../src/generated/catalogue.ts';
import type { AuditAction } from '../../src/generated/types.ts';
import type { ShownRecord } from '../../src/audit/shown.ts';
import { OCSF_SCHEMAS } from '../world/ocsf.ts';
import { allSigned } from '../world/seal.ts';
import { world } from '../world/server.ts';

const ID = '019a0000-0000-7000-8000-000000000001';

function record(changes: Partial<ShownRecord> = {}): ShownRecord {
  return {
    id: ID,
    position: 7,
    createdAt: '2026-01-02T03:04:05.123456Z',
    schemaVersion: 1,
    action: 'USER_UPDATED',
    actionKey: 'user.updated',
    category: 'USER',
    severity: 'INFO',
    status: 'SUCCESS',
    failure: null,
    tenantId: ID,
    actor: { type: 'USER', id: ID, email: 'ann@example.com', name: 'Ann', role: 'TENANT_ADMIN' },
    resource: 'USER',
    resourceId: ID,
    resourceName: 'Bob',
    details: {},
    changes: [],
    ipAddress: '192.0.2.1',
    userAgent: 'curl/8',
    requestId: 'r-1',
    context: { transport: 'HTTP' },
    ...changes,
  };
}

const actions = Object.keys(AUDIT_CATALOGUE) as AuditAction[];

test.each(['OCSF', 'OCSF_1_8'] as const)('every action validates against the schema of %s', (version) => {
  const validate = new Ajv({ allErrors: true }).compile(OCSF_SCHEMAS[version]);
  const unknown = { type: 'ANONYMOUS', id: null, email: null, name: null, role: null } as const;
  const system = { type: 'SYSTEM', id: null, email: null, name: 'detection', role: null } as const;
  for (const action of actions) {
    const { key: actionKey, resource, category } = AUDIT_CATALOGUE[action];
    const of = { action, actionKey, resource, category };
    for (const each of [
      record(of),
      record({
        ...of,
        actor: unknown,
        resourceId: null,
        resourceName: null,
        ipAddress: null,
        userAgent: null,
      }),
      record({ ...of, actor: system, position: null, tenantId: null, details: { evidence: [ID] } }),
      record({ ...of, status: 'FAILURE', failure: 'SCOPE_MISSING', severity: 'CRITICAL' }),
    ]) {
      // An object without name and id is none: what has neither is not known.
      const event: unknown = JSON.parse(rendered(each, version));
      expect([action, validate(event), validate.errors, event]).toEqual([action, true, null, event]);
    }
  }
});

test('what happens to users is User Management in OCSF 1.9 and Account Change before', () => {
  const created = record({ action: 'USER_CREATED', actionKey: 'user.created' });
  expect(JSON.parse(rendered(created, 'OCSF'))).toMatchObject({
    class_uid: 3007,
    activity_id: 1,
    type_uid: 300701,
    time: Date.parse('2026-01-02T03:04:05.123Z'),
    status_id: 1,
    metadata: { version: '1.9.0', uid: ID, event_code: 'user.created', sequence: 7 },
    actor: { user: { uid: ID, name: 'Ann', email_addr: 'ann@example.com' } },
    user: { uid: ID, name: 'Bob' },
    src_endpoint: { ip: '192.0.2.1' },
  });
  expect(JSON.parse(rendered(created, 'OCSF_1_8'))).toMatchObject({
    class_uid: 3001,
    type_uid: 300101,
    metadata: { version: '1.8.0' },
  });
});

test('ECS has the names of ECS', () => {
  const failed = record({
    action: 'LOGIN_FAILED',
    actionKey: 'auth.login_failed',
    category: 'AUTH',
    status: 'FAILURE',
    failure: 'INVALID_CREDENTIALS',
  });
  expect(JSON.parse(rendered(failed, 'ECS'))).toMatchObject({
    '@timestamp': '2026-01-02T03:04:05.123456Z',
    event: {
      id: ID,
      kind: 'event',
      category: ['authentication', 'session'],
      action: 'auth.login_failed',
      outcome: 'failure',
      reason: 'INVALID_CREDENTIALS',
    },
    user: { id: ID, full_name: 'Ann', target: { id: ID, full_name: 'Bob' } },
    source: { ip: '192.0.2.1' },
    user_agent: { original: 'curl/8' },
    organization: { id: ID },
  });
});

test('a CEF line stays one line with its parts, whatever the values hold', () => {
  const nasty = record({ userAgent: 'a=b|c\\d\ne', resourceName: 'x | y' });
  const line = rendered(nasty, 'CEF');
  expect(line).not.toContain('\n');
  expect(line).toMatch(/^CEF:0\|Custos\|Custos\|1\|user\.updated\|USER_UPDATED\|2\|rt=1767323045123 /);
  expect(line).toContain(String.raw`requestClientApplication=a\=b|c\\d\ne `);
  expect(line).toContain('cs5=x | y cs5Label=resourceName');
  expect(rendered(record({ resourceName: null }), 'CEF')).not.toContain('cs5');
  expect(rendered(record({ ipAddress: '2001:db8::1' }), 'CEF')).toContain('c6a2=2001:db8::1');
});

test('the API renders a record as the formats do', async () => {
  const here = await world();
  const { admin } = await here.tenant();
  await here.signIn(admin.email, 'wrong password');
  await allSigned(here.database.admin);
  const { data, errors } = await admin.ask(`{ auditLogs(first: 5) { nodes { id position actionKey
    native: rendered(format: NATIVE) ocsf: rendered(format: OCSF) ecs: rendered(format: ECS) cef: rendered(format: CEF) } } }`);
  expect(errors).toEqual([]);
  const validate = new Ajv().compile(OCSF_SCHEMAS.OCSF);
  for (const { id, position, actionKey, native, ocsf, ecs, cef } of data.auditLogs.nodes) {
    expect(JSON.parse(native)).toMatchObject({ id, position: Number(position), actionKey });
    expect([validate(JSON.parse(ocsf)), JSON.parse(ecs).event.id]).toEqual([true, id]);
    expect(cef).toContain(`|${actionKey}|`);
  }
});
