/**
 * The tenants' Merkle trees as they are stored: the leaves in `audit_seals`, where the sealer puts them, and above them the
 * tiles. A tile follows from the leaves, so it needs no lock: whoever completes it writes the same.
 */
import DataLoader from 'dataloader';
import { desc, and, eq, sql } from 'drizzle-orm';

import { HASH_BYTES, rootOf } from '../ledger/merkle.ts';
import {
  hashesIn,
  type ReadTile,
  spanHashes,
  TILE_WIDTH,
  type TileRef,
  widthOfLevel,
} from '../ledger/tiles.ts';
import type { Database, ReadTx } from '../platform/db.ts';
import { auditTiles, auditTrees } from './tables.ts';

/** Tiles made in one transaction: some 4,000 hashes, so the event loop is free again within a few milliseconds. */
const TILES_A_STEP = 16;

/** Reads the tiles of a tenant's tree, all that are asked for at the same time in one statement. */
export type TileReader = (tenantId: string) => ReadTile;

/** Tiles as that transaction sees them, each read once. */
export function openTiles(tx: ReadTx): TileReader {
  const loader = new DataLoader<TileRef & { tenantId: string }, Buffer, string>(
    (wanted) => readTiles(tx, wanted),
    {
      cacheKeyFn: ({ tenantId, level, index }) => `${tenantId}/${level}/${index}`,
    },
  );
  return (tenantId) => (tile) => loader.load({ tenantId, ...tile });
}

/** The root of a tree when it had that size. */
export async function rootAt(read: ReadTile, size: number): Promise<Buffer> {
  const [root] = await spanHashes([{ from: 0, to: size }], read);
  return root!;
}

/** How many records of a tenant are sealed. */
export async function sizeOfTree(tx: ReadTx, tenantId: string): Promise<number> {
  const [tree] = await tx
    .select({ size: auditTrees.size })
    .from(auditTrees)
    .where(eq(auditTrees.tenantId, tenantId));
  return Number(tree?.size ?? 0);
}

/** Makes the tiles that a tree of that size has and that are not there yet. */
export async function completeTiles(db: Database, tenantId: string, size: number): Promise<void> {
  for (let level = 1, width = widthOfLevel(1, size); width > 0; width = widthOfLevel(++level, size)) {
    while (await extendLevel(db, tenantId, level, width));
  }
}

/** Appends to the last tile of a level, or begins the next. False when the level has that width. */
async function extendLevel(db: Database, tenantId: string, level: number, width: number): Promise<boolean> {
  return await db.withTx({ tenantId }, async (tx) => {
    const [last] = await tx
      .select()
      .from(auditTiles)
      .where(and(eq(auditTiles.tenantId, tenantId), eq(auditTiles.level, level)))
      .orderBy(desc(auditTiles.index))
      .limit(1);
    const have = last ? Number(last.index) * TILE_WIDTH + last.hashes.length / HASH_BYTES : 0;
    const index = Math.floor(have / TILE_WIDTH);
    const end = Math.min(width, (index + 1) * TILE_WIDTH, have + TILES_A_STEP);
    if (have >= end) return false;
    const read = openTiles(tx)(tenantId);
    const below = Array.from({ length: end - have }, (_, at) => read({ level: level - 1, index: have + at }));
    const roots = (await Promise.all(below)).map((bytes) => rootOf(hashesIn(bytes)));
    const kept = last?.index === BigInt(index) ? [last.hashes] : [];
    const tile = { tenantId, level, index: BigInt(index), hashes: Buffer.concat([...kept, ...roots]) };
    await tx
      .insert(auditTiles)
      .values(tile)
      .onConflictDoUpdate({
        target: [auditTiles.tenantId, auditTiles.level, auditTiles.index],
        set: { hashes: tile.hashes },
        setWhere: sql`octet_length(${auditTiles.hashes}) < ${tile.hashes.length}`,
      });
    return true;
  });
}

async function readTiles(
  tx: ReadTx,
  wanted: readonly (TileRef & { readonly tenantId: string })[],
): Promise<Buffer[]> {
  const rows = await tx.execute<{ hashes: Buffer | null }>(sql`
    with wanted as (
      select at, tenant_id, level, index, index * ${TILE_WIDTH} as from_seq
      from rows from (json_to_recordset(${JSON.stringify(wanted.map(asRow))}::json)
        as (tenant_id uuid, level smallint, index bigint)) with ordinality as wanted (tenant_id, level, index, at)
    )
    select case when level = 0 then (
      select string_agg(substring(leaves
          from 32 * greatest(from_seq - first_seq, 0)::int + 1
          for 32 * (from_seq + ${TILE_WIDTH} - greatest(first_seq, from_seq))::int), ''::bytea order by first_seq)
      from audit_seals
      where audit_seals.tenant_id = wanted.tenant_id and first_seq < from_seq + ${TILE_WIDTH} and first_seq >= (
        select first_seq from audit_seals as before
        where before.tenant_id = wanted.tenant_id and before.first_seq <= from_seq
        order by first_seq desc limit 1)
    ) else (
      select hashes from audit_tiles
      where audit_tiles.tenant_id = wanted.tenant_id and audit_tiles.level = wanted.level
        and audit_tiles.index = wanted.index
    ) end as hashes
    from wanted order by at`);
  return rows.map(({ hashes }) => hashes ?? Buffer.of());
}

function asRow({ tenantId, level, index }: TileRef & { readonly tenantId: string }) {
  return { tenant_id: tenantId, level, index };
}
