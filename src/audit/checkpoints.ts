/**
 * Signs the heads of the trees as they grow, at most every half second. Every process does, and needs no election: the tiles
 * and the signature of a head follow from its leaves, so two that come to the same head write the same.
 */
import { and, asc, desc, eq, gt, gte, lte, sql } from 'drizzle-orm';
import { setTimeout as pause } from 'node:timers/promises';
import { LRUCache } from 'lru-cache';
import type { Logger } from 'pino';

import { type ReadTile, widthOfLevel } from '../ledger/tiles.ts';
import type { Database, ReadTx } from '../platform/db.ts';
import { type Clock, isoOf } from '../platform/ids.ts';
import { apart } from '../platform/tracing.ts';
import type { Sealer } from './seal.ts';
import type { Signer } from './signer.ts';
import { auditCheckpoints } from './tables.ts';
import { completeTiles, openTiles, rootAt } from './trees.ts';

const INTERVAL_MS = 500;
/** Heads signed in one transaction: each takes 0.1 ms of the processor. */
const HEADS_A_STEP = 50;
const HEADS_KEPT = 10_000;

export interface CheckpointsOptions {
  readonly db: Database;
  readonly clock: Clock;
  readonly log: Logger;
  readonly signer: Signer;
  readonly sealer: Pick<Sealer, 'progress'>;
}

/** Starts signing. Errors are logged and tried again. */
export function openCheckpoints({ db, clock, log, signer, sealer }: CheckpointsOptions): {
  stop(): Promise<void>;
} {
  const stopping = new AbortController();
  /** What was signed last: a log that is not its continuation was tampered with, and is not vouched for. */
  const last = new LRUCache<string, Known>({ max: HEADS_KEPT });
  const running = apart(run);
  return {
    async stop() {
      stopping.abort();
      await running;
    },
  };

  async function run() {
    /** Everything before that position is under a checkpoint; undefined before the first round, which looks at every tree. */
    let signed: bigint | undefined;
    while (!stopping.signal.aborted) {
      const { pos } = sealer.progress();
      if (pos !== undefined && pos !== signed) {
        try {
          await signHeads(signed);
          signed = pos;
        } catch (err) {
          log.error({ err }, 'Signing checkpoints failed; it is tried again.');
        }
      }
      await pause(INTERVAL_MS, undefined, { signal: stopping.signal }).catch(() => {});
    }
  }

  async function signHeads(since: bigint | undefined) {
    const heads = await db.withReadTx('PLATFORM', (tx) => unsignedHeads(tx, since));
    for (let at = 0; at < heads.length && !stopping.signal.aborted; at += HEADS_A_STEP) {
      const some = heads.slice(at, at + HEADS_A_STEP);
      for (const { tenantId, size, signed } of some) {
        // Up to a checkpoint they are complete.
        if (widthOfLevel(1, size) > widthOfLevel(1, signed)) await completeTiles(db, tenantId, size);
      }
      await db.withTx('PLATFORM', async (tx) => {
        const tiles = openTiles(tx);
        const createdAt = isoOf(clock.now());
        const notes = some.map(async ({ tenantId, size }) => {
          const read = tiles(tenantId);
          const before = last.get(tenantId);
          if (before && !(await isHistoryOf(before, read, size))) {
            const facts = { tenantId, size, signed: before.size };
            log.fatal(facts, 'A log is not what was signed: it is not signed any more.');
            return [];
          }
          const root = await rootAt(read, size);
          last.set(tenantId, { size, root });
          return [{ tenantId, size: BigInt(size), note: signer.sign(tenantId, size, root), createdAt }];
        });
        const rows = (await Promise.all(notes)).flat();
        if (rows.length > 0) await tx.insert(auditCheckpoints).values(rows).onConflictDoNothing();
      });
    }
  }
}

interface Known {
  readonly size: number;
  readonly root: Buffer;
}

async function isHistoryOf(before: Known, read: ReadTile, size: number): Promise<boolean> {
  return before.size <= size && before.root.equals(await rootAt(read, before.size));
}

interface Head {
  readonly tenantId: string;
  readonly size: number;
  /** The size of its last checkpoint. */
  readonly signed: number;
}

/** The trees that have grown beyond their last checkpoint; with a position, of those that have grown since. */
async function unsignedHeads(tx: ReadTx, since: bigint | undefined): Promise<Head[]> {
  const grown =
    since === undefined
      ? sql``
      : sql`and tenant_id in (select tenant_id from audit_seals where first_pos >= ${since})`;
  const rows = await tx.execute<{ tenant_id: string; size: string; signed: string }>(sql`
    select tenant_id, size, signed from audit_trees as tree
    cross join lateral (
      select coalesce(max(size), 0) as signed from audit_checkpoints as own where own.tenant_id = tree.tenant_id
    ) as last
    where size > signed ${grown} order by tenant_id`);
  return rows.map(({ tenant_id: tenantId, size, signed }) => ({
    tenantId,
    size: Number(size),
    signed: Number(signed),
  }));
}

/** A checkpoint as it is stored. */
export type CheckpointRow = typeof auditCheckpoints.$inferSelect;

/** The newest checkpoint of a tree; with a size, the first that covers so many records. */
export async function checkpointOf(
  tx: ReadTx,
  tenantId: string,
  size?: bigint,
): Promise<CheckpointRow | undefined> {
  const [row] = await tx
    .select()
    .from(auditCheckpoints)
    .where(
      and(
        eq(auditCheckpoints.tenantId, tenantId),
        size === undefined ? undefined : gte(auditCheckpoints.size, size),
      ),
    )
    .orderBy(size === undefined ? desc(auditCheckpoints.size) : asc(auditCheckpoints.size))
    .limit(1);
  return row;
}

/** The notes of the checkpoints with `from < size <= to`, by their size. */
export async function checkpointNotes(
  tx: ReadTx,
  tenantId: string,
  from: number,
  to: number,
): Promise<ReadonlyMap<number, string>> {
  const { size } = auditCheckpoints;
  const rows = await tx
    .select()
    .from(auditCheckpoints)
    .where(and(eq(auditCheckpoints.tenantId, tenantId), gt(size, BigInt(from)), lte(size, BigInt(to))));
  return new Map(rows.map((row) => [Number(row.size), row.note]));
}
