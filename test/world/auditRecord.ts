/** The records a call left, compared whole: who, what, when, from where, why, with which result. */
import { eq } from 'drizzle-orm';
import { expect } from 'vitest';

import { leafRecord } from '../../src/audit/personal.ts';
import { auditLogs, type AuditLogRow, PLATFORM_TENANT } from '../../src/audit/tables.ts';
import { AUDIT_CATALOGUE } from '../../src/generated/catalogue.ts';
import type { AuditAction, ErrorCode, ErrorReason, Role, Severity } from '../../src/generated/types.ts';
import { leafHash } from '../../src/ledger/leaf.ts';
import { isoOf, microsFrom, microsOf } from '../../src/platform/ids.ts';
import { REFUSALS } from '../../src/platform/refusal.ts';
import type { Answer, Person, World } from './server.ts';

/** A field before and after, as the API shows it. */
export type ExpectedChange = readonly [path: string, before: unknown, after: unknown, redaction?: 'SECRET'];

/** Who a test says has acted. */
export interface ExpectedActor {
  readonly person: Person;
  readonly role: Role;
  readonly name: string;
}

/** The people that test/world/server.ts makes, as actors. */
export const asRoot = (person: Person): ExpectedActor => ({
  person,
  role: 'SUPER_ADMIN',
  name: 'Administrator',
});
export const asAdmin = (person: Person, tenant = 'Acme'): ExpectedActor => ({
  person,
  role: 'TENANT_ADMIN',
  name: `Admin of ${tenant}`,
});
export const asUser = (person: Person, role: Role): ExpectedActor => ({ person, role, name: `A ${role}` });

/** What a test says of a record. What it does not say is absent, except what follows from these. */
export interface ExpectedRecord {
  readonly action: AuditAction;
  /** Who acted; absent: nobody was signed in. */
  readonly by?: ExpectedActor;
  /** Whose log tells of it; null for the platform's. */
  readonly tenantId: string | null;
  readonly resourceId?: string | null;
  readonly resourceName?: string | null;
  readonly severity: Severity;
  readonly security?: boolean;
  /** Why it failed; absent: it was done. */
  readonly failure?: ErrorReason;
  readonly details?: object;
  readonly changes?: readonly ExpectedChange[];
  /** The mutation it came through. */
  readonly mutation: string;
}

const RECORD = `id createdAt schemaVersion action actionKey category severity status failure { code reason message }
  userId actor { type id email name role sessionId } tenantId resource resourceId resourceName details
  changes { path before after redaction } ipAddress userAgent requestId
  context { operationName fieldPath documentHash transport forwardedFor }`;

/** Requires that the call left exactly this record, and that its row proves it. Returns the row. */
export async function expectRecord(
  world: World,
  reader: Person,
  answer: Answer,
  expected: ExpectedRecord,
): Promise<AuditLogRow> {
  const read = await reader.ask(
    `query Left($id: String!) { auditLogs(filter: { requestId: $id }) { nodes { ${RECORD} } } }`,
    { id: answer.requestId },
  );
  expect(read.errors).toEqual([]);
  const { key, category, resource } = AUDIT_CATALOGUE[expected.action];
  const { by, failure, changes = [] } = expected;
  expect(read.data.auditLogs.nodes).toEqual([
    {
      id: expect.any(String) as string,
      createdAt: expect.any(String) as string,
      schemaVersion: 1,
      action: expected.action,
      actionKey: key,
      category,
      severity: expected.severity,
      status: failure === undefined ? 'SUCCESS' : failure === 'INTERNAL' ? 'ERROR' : 'FAILURE',
      failure: failure === undefined ? null : failureOf(failure),
      userId: by?.person.id ?? null,
      actor: {
        type: by ? 'USER' : 'ANONYMOUS',
        id: by?.person.id ?? null,
        email: by?.person.email ?? null,
        name: by?.name ?? null,
        role: by?.role ?? null,
        sessionId: by ? sessionOf(by.person) : null,
      },
      tenantId: expected.tenantId,
      resource,
      resourceId: expected.resourceId ?? null,
      resourceName: expected.resourceName ?? null,
      details: expected.details ?? {},
      changes: changes.map(([path, before, after, redaction = null]) => ({ path, before, after, redaction })),
      ipAddress: '127.0.0.1',
      userAgent: 'node',
      requestId: answer.requestId,
      context: {
        operationName: 'Do',
        fieldPath: expected.mutation,
        documentHash: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
        transport: 'HTTP',
        forwardedFor: null,
      },
    },
  ]);
  const [{ id, createdAt }] = read.data.auditLogs.nodes as [{ id: string; createdAt: string }];
  // The id is the time, and the time is now.
  expect(createdAt).toBe(isoOf(microsOf(id)));
  expect(Math.abs(Number(microsFrom(createdAt) / 1000n) - Date.now())).toBeLessThan(10_000);
  if (failure === undefined) expect(answer.data?.receipts).toEqual([{ id, action: expected.action }]);

  const row = await rowOf(world, id);
  expect(row.tenantId).toBe(expected.tenantId ?? PLATFORM_TENANT);
  expect(row.security).toBe(expected.security ?? false);
  expectProven(row);
  return row;
}

/** Requires that the call was refused so, and left nothing in its answer. */
export function expectRefused(answer: Answer, reason: ErrorReason, fields?: Record<string, unknown>): void {
  expect(answer.errors).toHaveLength(1);
  const [{ message, extensions }] = answer.errors as [Answer['errors'][number]];
  const [code, sentence] = REFUSALS[reason];
  expect({ message, extensions, data: answer.data }).toEqual({
    message: sentence,
    extensions: { code, reason, requestId: answer.requestId, ...(fields ? { fields } : {}) },
    data: null,
  });
}

/** The row of a record as the database gives it back. */
export async function rowOf({ server }: Pick<World, 'server'>, id: string): Promise<AuditLogRow> {
  const [row] = await server.house.db.withReadTx('PLATFORM', (tx) =>
    tx.select().from(auditLogs).where(eq(auditLogs.id, id)),
  );
  return row!;
}

/** Requires that the leaf hash follows from the row as it was read. */
export function expectProven(row: AuditLogRow): void {
  expect(leafHash(leafRecord(row)).toString('hex')).toBe(row.leafHash.toString('hex'));
}

function failureOf(reason: ErrorReason): { code: ErrorCode; reason: ErrorReason; message: string } {
  const [code, message] = REFUSALS[reason];
  return { code, reason, message };
}

/** The session of an access token. */
export function sessionOf({ token }: Person): string {
  const claims = JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString()) as { sid: string };
  return claims.sid;
}
