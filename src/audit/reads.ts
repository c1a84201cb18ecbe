/**
 * Who read the log. What is asked for is noted before it is answered, by the directive that demands the right to read, so that no
 * resolver and no client can leave it out. The notes are no records, for reading the log would make it grow; a record of each day
 * holds the hash of its notes, so they cannot be changed unseen either.
 */
import { createHash } from 'node:crypto';

import canonicalize from 'canonicalize';
import { and, asc, eq, gte, lt, sql } from 'drizzle-orm';
import { LRUCache } from 'lru-cache';
import { z } from 'zod';

import type { AuditReadKind } from '../generated/types.ts';
import { hmac256 } from '../platform/crypto.ts';
import type { Database, ReadTx } from '../platform/db.ts';
import { asUuid, type Clock, idAt, idFloor, isoOf, microsFrom } from '../platform/ids.ts';
import type { Queue } from '../platform/jobs.ts';
import { type Actor, type ApiKeyActor, confinedTo, type RequestFacts, type UserActor } from './act.ts';
import { performAsSystem, type Recorder, tenancyOf } from './record.ts';
import { recordable } from './recordable.ts';
import { type AuditReadRow, auditReads, PLATFORM_TENANT } from './tables.ts';

const WINDOW_MICROS = 600_000_000n;
const KNOWN_MAX = 10_000;
const DAY_MICROS = 86_400_000_000n;
const DIGEST: Queue<object> = { name: 'audit-reads-digest', data: z.object({}) };
const DAILY = '17 0 * * *';
/** Where in a list somebody is, is not what they ask for. */
const PAGING = ['first', 'after', 'last', 'before', 'orderBy'];
/** Arguments that may name somebody: that they were given is kept, and not what they were. */
const PERSONAL = ['email', 'text'];
const NOT_KEPT = '(not kept)';

/** What somebody is about to read. */
export interface LogRead {
  readonly kind: AuditReadKind;
  readonly query: string;
  readonly args: Readonly<Record<string, unknown>>;
}

export interface Reads {
  /** Notes what is about to be read. Rejects when it cannot be noted; then it must not be read. */
  note(actor: Actor, request: RequestFacts, readings: readonly LogRead[]): Promise<void>;
}

/** Notes reads under that key. */
export function openReads({ db, clock, key }: { db: Database; clock: Clock; key: Buffer }): Reads {
  const known = new LRUCache<string, true>({ max: KNOWN_MAX, ttl: Number(WINDOW_MICROS / 1000n) });
  return {
    async note(actor, request, readings) {
      if (actor.type !== 'USER' && actor.type !== 'API_KEY') return;
      const now = clock.now();
      const rows = readings.map((each) => ({
        ...noteOf(actor, each, now),
        id: idAt(clock.now()),
        readAt: isoOf(now),
        ipAddress: request.ipAddress,
        userAgent: request.userAgent === null ? null : (recordable(request.userAgent) as string),
        requestId: request.id,
      }));
      const unknown = rows.filter((row) => !known.has(nameOf(row)));
      if (unknown.length === 0) return;
      await db.withTx(tenancyOf(actor), (tx) => tx.insert(auditReads).values(unknown).onConflictDoNothing());
      for (const row of unknown) known.set(nameOf(row), true);
    },
  };

  function noteOf(actor: UserActor | ApiKeyActor, { kind, query, args }: LogRead, now: bigint) {
    const wanted = Object.fromEntries(Object.entries(args).filter(([name]) => !PAGING.includes(name)));
    return {
      tenantId: logRead(actor, args),
      readerType: actor.type,
      readerId: actor.id,
      kind,
      query,
      args: kept(wanted) as Record<string, unknown>,
      asked: hmac256(key, JSON.stringify([query, wanted])),
      since: isoOf(kind === 'QUERY' ? now - (now % WINDOW_MICROS) : now),
    };
  }
}

/** What is noted once. */
function nameOf({
  tenantId,
  readerId,
  since,
  asked,
}: Pick<AuditReadRow, 'tenantId' | 'readerId' | 'since' | 'asked'>) {
  return [tenantId, readerId, since, asked.toString('base64')].join();
}

/** Whose log: the one that is named by those who see several, or their own. */
function logRead(actor: Actor, { tenantId, tenant, filter }: LogRead['args']): string {
  const own = confinedTo(actor);
  const named = tenantId ?? tenant ?? (filter as { tenantId?: unknown } | null | undefined)?.tenantId;
  return own ?? (typeof named === 'string' ? asUuid(named) : undefined) ?? PLATFORM_TENANT;
}

function kept(value: unknown): unknown {
  const text = JSON.stringify(recordable(value), (name, each: unknown) =>
    PERSONAL.includes(name) && each !== null ? NOT_KEPT : each,
  );
  return JSON.parse(text);
}

/** Puts the hash of each day's notes on record, from now on. */
export async function openReadsDigest(recorder: Recorder): Promise<void> {
  const { jobs, clock } = recorder.services;
  jobs.work(DIGEST, async () => {
    const today = clock.now() - (clock.now() % DAY_MICROS);
    await digest(recorder, isoOf(today - DAY_MICROS).slice(0, 10));
  });
  await jobs.schedule(DIGEST, DAILY, {});
}

/** Puts the hash of the notes of a day, such as `2026-01-02`, on record, in each log that was read; once. */
export async function digest(recorder: Recorder, day: string): Promise<void> {
  await performAsSystem(recorder, 'reads', async (act) => {
    const { tx, services } = act;
    const logs = await tx.execute<{ tenant_id: string }>(sql`
      select distinct tenant_id from ${auditReads} where ${ofDay(day)} and not exists (
        select from audit_logs where audit_logs.tenant_id = ${auditReads.tenantId} and action = 'audit.reads_sealed'
          and id >= ${idFloor(microsFrom(`${day}T00:00:00Z`))} and details ->> 'day' = ${day})
      order by tenant_id`);
    for (const { tenant_id: tenantId } of logs) {
      const { reads, sha256 } = await digestOf(tx, tenantId, day);
      await act.record({
        action: 'AUDIT_READS_SEALED',
        tenantId,
        resourceId: tenantId === PLATFORM_TENANT ? null : tenantId,
        resourceName: null,
        subjectHmac: null,
        details: { day, reads, sha256 },
        personal: [],
        requestId: idAt(services.clock.now()),
        ipAddress: null,
      });
    }
  });
}

/** How many notes a log has of a day, and the SHA-256 of them: canonical JSON (RFC 8785), a line each, in the order of their ids. */
export async function digestOf(
  tx: ReadTx,
  tenantId: string,
  day: string,
): Promise<{ reads: number; sha256: string }> {
  const rows = await tx
    .select()
    .from(auditReads)
    .where(and(eq(auditReads.tenantId, tenantId), ofDay(day)))
    .orderBy(asc(auditReads.id));
  const hash = createHash('sha256');
  for (const row of rows) hash.update(`${canonicalize(shownRead(row))}\n`);
  return { reads: rows.length, sha256: hash.digest('hex') };
}

function shownRead({ asked, ...row }: AuditReadRow) {
  return { ...row, asked: asked.toString('hex') };
}

function ofDay(day: string) {
  const from = microsFrom(`${day}T00:00:00Z`);
  return and(gte(auditReads.id, idFloor(from)), lt(auditReads.id, idFloor(from + DAY_MICROS)));
}
