/** Two tenants, one of which is full of words and ids that the other must never see. */
import { randomUUID } from 'node:crypto';
import { expect } from 'vitest';

import { sessionOf } from './auditRecord.ts';
import { businessRows } from './business.ts';
import { exportDone } from './exports.ts';
import { livePeople } from './live.ts';
import { ALLOWED_TARGET } from './receiver.ts';
import { allSigned } from './seal.ts';
import { introspected } from './selection.ts';
import type { Answer } from './server.ts';

/** Somebody to ask about: of the other tenant, or made up. */
export interface Target {
  readonly tenantId: string;
  readonly subdomain: string;
  readonly userId: string;
  readonly email: string;
  readonly recordId: string;
  readonly branchId: string;
  readonly sessionId: string;
  readonly eventId: string;
  readonly exportId: string;
  readonly holdId: string;
  readonly webhookId: string;
  readonly apiKeyId: string;
  readonly eventTypeId: string;
  readonly ipAddress: string;
  readonly requestId: string;
}

const CANARY = {
  email: 'canary@coalmine.example',
  fullName: 'Canary Finch',
  phone: '+44 20 7946 0000',
  ipAddress: '192.0.2.66',
  requestId: 'canary-request',
  reason: 'Canary reason',
};

/** A tenant whose people ask, and another with something of everything, whose `canaries` may show nowhere. */
export async function twoTenants() {
  const people = await livePeople();
  const { here, admin, foreign } = people;
  const insiders = [admin];
  for (const role of ['AUDITOR', 'BRANCH_MANAGER', 'MEMBER']) insiders.push(await here.user(admin, role));

  const { email, fullName, phone, ipAddress, requestId, reason } = CANARY;
  const created = await foreign.do(
    'createUser',
    { email, fullName, phone, role: 'MEMBER' },
    'user { id tenant { subdomain } }',
  );
  const { id: userId, tenant } = created.data.user as { id: string; tenant: { subdomain: string } };
  await people.fail(email, ipAddress);
  await foreign.do('deactivateUser', { id: userId, reason });
  await foreign.do('activateUser', { id: userId });
  const rename = 'mutation ($input: UpdateTenantInput!) { updateTenant(input: $input) { receipts { id } } }';
  const input = { id: foreign.tenantId, name: 'Canary Mines' };
  const mine = { name: 'Canary Shaft', code: 'CANARY' };
  const branch = await foreign.do('createBranch', mine, 'branch { id }');
  const branchId = branch.data.branch.id as string;
  await foreign.do('setUserBranches', { id: userId, branchIds: [branchId] });
  await foreign.do('updateSettings', { organisation: { displayName: 'Canary & Sons' } });
  const raised = await foreign.ask('{ securityEvents(first: 1) { nodes { id } } }');
  const { data } = await foreign.ask(rename, { input }, { 'x-request-id': requestId });
  const exported = await foreign.do('createAuditExport', { format: 'CSV' }, 'auditExport { id }');
  const exportId = exported.data.auditExport.id as string;
  await exportDone(foreign, exportId);
  const root = await here.root();
  await root.do('updateTenantSubscription', { id: foreign.tenantId, tier: 'STARTER' });
  const held = await root.do('placeLegalHold', { tenantId: foreign.tenantId, reason }, 'legalHold { id }');

  const hook = await foreign.do('createWebhook', { url: ALLOWED_TARGET }, 'webhook { id }');
  await foreign.do('testWebhook', { id: hook.data.webhook.id });

  const key = await foreign.do('createApiKey', { name: 'Canary', scopes: ['AUDIT_READ'] }, 'apiKey { id }');
  const type = await foreign.do('registerEventType', { name: 'canary.sang', schema: {} }, 'eventType { id }');
  await foreign.do('recordAuditEvents', { events: [{ type: 'canary.sang', idempotencyKey: 'canary' }] });

  const { admin: sql } = here.database;
  await allSigned(sql);
  const ids = await sql`
    select id from users where tenant_id = ${foreign.tenantId} union select id from branches where tenant_id = ${foreign.tenantId}
    union select id from sessions where tenant_id = ${foreign.tenantId}
    union select id from audit_logs where tenant_id = ${foreign.tenantId}
    union select id from audit_exports where tenant_id = ${foreign.tenantId}
    union select id from api_keys where tenant_id = ${foreign.tenantId}
    union select id from event_types where tenant_id = ${foreign.tenantId}
    union select id from webhooks where tenant_id = ${foreign.tenantId}
    union select id from webhook_deliveries where tenant_id = ${foreign.tenantId}
    union select id from legal_holds where tenant_id = ${foreign.tenantId}
    union select operation_id from audit_logs where tenant_id = ${foreign.tenantId}`;
  const { tenantId: foreignId } = foreign;
  const canaries = [
    ...ids.map(({ id }) => id as string),
    ...Object.values(CANARY),
    foreignId!,
    tenant.subdomain,
    foreign.email,
    'Globex',
    'Canary',
  ];
  const target: Target = {
    tenantId: foreignId!,
    subdomain: tenant.subdomain,
    userId,
    recordId: data.updateTenant.receipts[0].id as string,
    branchId,
    sessionId: sessionOf(foreign),
    eventId: raised.data.securityEvents.nodes[0].id as string,
    exportId,
    apiKeyId: key.data.apiKey.id as string,
    eventTypeId: type.data.eventType.id as string,
    webhookId: hook.data.webhook.id as string,
    holdId: held.data.legalHold.id as string,
    email,
    ipAddress,
    requestId,
  };
  return {
    people,
    here,
    insiders,
    foreign,
    tenantId: admin.tenantId!,
    schema: await introspected(here.anybody),
    target,
    canaries,
    /** All rows of the other tenant, its log included. */
    foreignRows: async () => {
      const rows = Object.values(await businessRows(here.database)).flat();
      const records = await sql<{ row: string }[]>`select t::text as row from audit_logs t order by id`;
      return [...rows, ...records.map(({ row }) => row)].filter((row) => row.startsWith(`(${foreignId},`));
    },
    /** Whose log holds the record of a call. */
    logOf: async (answer: Answer) => {
      const rows = await sql`select tenant_id from audit_logs where request_id = ${answer.requestId}`;
      expect(rows).toHaveLength(1);
      return rows[0]!['tenant_id'] as string;
    },
  };
}

/** Somebody who is not there. */
export function madeUp(): Target {
  const id = randomUUID();
  const name = `nobody-${id.slice(0, 8)}`;
  return {
    tenantId: id,
    userId: id,
    recordId: id,
    branchId: id,
    sessionId: id,
    eventId: id,
    exportId: id,
    holdId: id,
    webhookId: id,
    apiKeyId: id,
    eventTypeId: id,
    subdomain: name,
    email: `${name}@example.com`,
    ipAddress: '192.0.2.250',
    requestId: name,
  };
}
