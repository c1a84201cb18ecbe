/** A log of any length, made up and yet as real as any: every record is composed, hashed, sealed and signed as it always is. */
import { setTimeout as pause } from 'node:timers/promises';

import { sql } from 'drizzle-orm';

import type { Services } from './audit/act.ts';
import { openCheckpoints } from './audit/checkpoints.ts';
import { appendAll, type Call, type Dated, entryOf, entryOfFailure } from './audit/entry.ts';
import { openSealer } from './audit/seal.ts';
import { auditSealer } from './audit/tables.ts';
import { type Event, openTraffic, type Traffic } from './demoTraffic.ts';
import type { Database, ReadTx, Tx } from './platform/db.ts';
import { insertAll } from './platform/insertAll.ts';
import { passOver } from './security/detector.ts';
import { branches, tenants } from './tenants/tables.ts';
import { users } from './users/tables.ts';

const EVENTS_A_BATCH = 1_000;
/** One is composed while Postgres writes the other. */
const BATCHES_AT_ONCE = 2;
const BATCH_MS_MAX = 60_000;
const TENANTS_MAX = 2_000;
const EVENTS_A_TENANT = 5_000;
const LOOK_MS = 200;
const DAY_MICROS = 86_400_000_000n;

export interface LogOptions {
  readonly db: Database;
  readonly services: Services;
  readonly records: number;
  readonly days: number;
  /** Before this moment, in microseconds since 1970. */
  readonly until: bigint;
  /** Of everybody in it. */
  readonly password: string;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: LogProgress) => void) | undefined;
}

/** How many of the records are there, and how many of them have their place. */
export interface LogProgress {
  readonly written: number;
  readonly sealed: number;
}

/** What was made. */
export interface SeededLog {
  readonly tenants: number;
  readonly records: number;
  /** Of the administrators, that of the largest tenant first. */
  readonly emails: readonly string[];
  readonly password: string;
}

/** Makes the tenants and their log. Called off or failed, it leaves a part of them, which is of no use. */
export async function makeLog(options: LogOptions): Promise<SeededLog> {
  const { db, services, records, days, until, password, signal, onProgress } = options;
  const { clock, log, signer } = services;
  const traffic = openTraffic({
    events: records,
    tenants: Math.min(Math.max(3, Math.floor(records / EVENTS_A_TENANT)), TENANTS_MAX),
    from: until - BigInt(days) * DAY_MICROS,
    days,
    passwordHash: await services.passwords.hash(password),
  });
  const sealer = openSealer({ db, clock, log });
  try {
    const before = await sealedIn(db);
    let written = 0;
    const report = async () => onProgress?.({ written, sealed: (await sealedIn(db)) - before });
    const events = traffic.events();
    const writeNext = async (many: number, also?: (tx: Tx) => Promise<void>) => {
      signal?.throwIfAborted();
      await write(
        db,
        services,
        Array.from({ length: many }, () => events.next().value!),
        also,
      );
      written += many;
      await report();
    };
    // The last one waits for the rows of everybody: they are what all the others have made of them.
    let left = records - 1;
    const writers = Array.from({ length: BATCHES_AT_ONCE }, async () => {
      while (left > 0) {
        const many = Math.min(EVENTS_A_BATCH, left);
        left -= many;
        await writeNext(many);
      }
    });
    await Promise.all(writers);
    await writeNext(1, (tx) => furnish(tx, traffic));
    while ((await sealedIn(db)) - before < records) await look();
    await passOver(db);
    const checkpoints = openCheckpoints({ db, clock, log, signer, sealer });
    try {
      while (!(await db.withReadTx('PLATFORM', isSigned))) await look();
    } finally {
      await checkpoints.stop();
    }

    async function look() {
      await pause(LOOK_MS);
      signal?.throwIfAborted();
      await report();
    }
  } finally {
    await sealer.stop();
  }
  const emails = traffic.tenants.map(({ people }) => people[0]!.user.email);
  return { tenants: traffic.tenants.length, records, emails, password };
}

async function write(
  db: Database,
  services: Services,
  events: readonly Event[],
  also: (tx: Tx) => Promise<void> = async () => {},
): Promise<void> {
  const entries = events.map((event) => dated(event, services));
  await db.withTx(
    'PLATFORM',
    async (tx) => {
      await also(tx);
      await appendAll(tx, services, entries);
    },
    { deadlineMs: BATCH_MS_MAX },
  );
}

function dated({ id, outcome, ...event }: Event, services: Services): Dated {
  const field = { operationName: event.mutation, fieldPath: event.mutation };
  const call: Call = { ...event, services, field };
  const entry =
    'failure' in outcome
      ? entryOfFailure(call, outcome.input, outcome.failure)
      : entryOf(call, outcome.happening, null);
  return { id, occasion: call, entry };
}

/** The rows as all events have left them. */
async function furnish(tx: Tx, traffic: Traffic): Promise<void> {
  await insertAll(
    tx,
    tenants,
    traffic.tenants.map(({ tenant }) => tenant),
  );
  await insertAll(
    tx,
    users,
    traffic.tenants.flatMap(({ people }) => people.map(({ user }) => user)),
  );
  await insertAll(
    tx,
    branches,
    traffic.tenants.flatMap((each) => each.branches),
  );
}

/** How many records have their place. */
async function sealedIn(db: Database): Promise<number> {
  const [row] = await db.withReadTx('PLATFORM', (tx) =>
    tx.select({ pos: auditSealer.pos }).from(auditSealer),
  );
  return Number(row!.pos);
}

async function isSigned(tx: ReadTx): Promise<boolean> {
  const [row] = await tx.execute<{ signed: boolean }>(sql`
    select not exists (select tenant_id, size from audit_trees except select tenant_id, size from audit_checkpoints) as signed`);
  return row!.signed;
}
