import { setTimeout as pause } from 'node:timers/promises';

import { sql } from 'drizzle-orm';

import { SEALED_CHANNEL } from '../src/audit/seal.ts';
import { type Database, openDatabase } from '../src/platform/db.ts';
import { idAt, openClock } from '../src/platform/ids.ts';
import { INSERT_RAW, rawRecord } from '../test/world/rawRecord.ts';
import { type Figure, type Table, times } from './figures.ts';
import { start } from './processes.ts';
import { furnish, type Stage } from './stage.ts';

const CLOCK = openClock();
const TICK_MS = 10;
const SETTLE_MS = 10_000;

const DATABASE = 'sealing';
const LOADS = [
  { perSecond: 500, transactionsPerSecond: 500 },
  { perSecond: 10_000, transactionsPerSecond: 400 },
];

interface Load {
  readonly perSecond: number;
  /** How they come: each transaction is a commit. */
  readonly transactionsPerSecond: number;
}

/** How long records wait for their place, at several loads. */
export async function sealingLag(stage: Stage): Promise<Table[]> {
  await stage.emptyDatabase(DATABASE);
  const { url, stop } = await start('serve', stage.env(DATABASE));
  const db = openDatabase({ url: stage.appUrl(DATABASE), max: 8 });
  try {
    const { tenantId } = await furnish(url);
    const figures = [];
    for (const load of LOADS) figures.push(...(await lagUnder(db, tenantId, load, stage.quick ? 5 : 20)));
    return [{ title: 'From the commit until another process hears that it is sealed', figures }];
  } finally {
    await db.stop();
    await stop();
  }
}

/** Writes records as they are, without mutations, which are slower than sealing is; the server seals them, and signs. */
async function lagUnder(
  db: Database,
  tenantId: string,
  { perSecond, transactionsPerSecond }: Load,
  seconds: number,
): Promise<Figure[]> {
  const heard: { readonly at: number; readonly pos: bigint }[] = [];
  const ended = await db.listen(
    SEALED_CHANNEL,
    (pos) => heard.push({ at: performance.now(), pos: BigInt(pos) }),
    () => {},
  );
  try {
    await pause(200);
    const from = await sealedTo(db);
    const committedAt = new Map<string, number>();
    const writing: Promise<void>[] = [];
    const each = Math.round(perSecond / transactionsPerSecond);
    const batches = Array.from({ length: transactionsPerSecond * seconds }, () => batchOf(tenantId, each));
    const begin = performance.now();
    for (let due = 0; performance.now() - begin < seconds * 1_000; await pause(TICK_MS)) {
      const owed = Math.floor(((performance.now() - begin) / 1_000) * transactionsPerSecond) - due;
      due += owed;
      for (const batch of batches.splice(0, owed)) writing.push(write(db, batch, committedAt));
      await Promise.all(writing.splice(0));
    }
    const last = performance.now();
    const to = from + BigInt(committedAt.size);
    while ((heard.at(-1)?.pos ?? 0n) < to && performance.now() - last < SETTLE_MS) await pause(TICK_MS);
    const lags = await lagsOf(db, from, committedAt, heard);
    const committed = ((committedAt.size / (last - begin)) * 1_000).toFixed(0);
    const rest = Math.max(heard.at(-1)!.at - last, 0);
    return [
      { label: `at ${perSecond} records a second (${committed} committed)`, sides: [times('Custos', lags)] },
      {
        label: `at ${perSecond}: all of them, after the last`,
        sides: [{ name: 'Custos', unit: 'ms', p50: rest }],
      },
    ];
  } finally {
    await ended();
  }
}

interface Batch {
  readonly ids: readonly string[];
  /** The rows, as JSON: making them is not what is measured. */
  readonly rows: string;
}

function batchOf(tenantId: string, count: number): Batch {
  const ids = Array.from({ length: count }, () => idAt(CLOCK.now()));
  return { ids, rows: JSON.stringify(ids.map((id) => rawRecord({ tenantId, id }))) };
}

async function write(db: Database, { ids, rows }: Batch, committedAt: Map<string, number>): Promise<void> {
  await db.withTx('PLATFORM', (tx) => tx.execute(sql`${sql.raw(INSERT_RAW)} ${rows}::text::json)`));
  const now = performance.now();
  for (const id of ids) committedAt.set(id, now);
}

async function sealedTo(db: Database): Promise<bigint> {
  const [row] = await db.withReadTx('PLATFORM', (tx) =>
    tx.execute<{ pos: string }>('select pos from audit_sealer'),
  );
  return BigInt(row!.pos);
}

async function lagsOf(
  db: Database,
  from: bigint,
  committedAt: ReadonlyMap<string, number>,
  heard: readonly { readonly at: number; readonly pos: bigint }[],
): Promise<number[]> {
  const places = await db.withReadTx(
    'PLATFORM',
    (tx) =>
      tx.execute<{ id: string; pos: string }>(
        `select encode(substring(ids from place * 16 + 1 for 16), 'hex')::uuid as id, first_pos + place as pos
         from audit_seals cross join lateral generate_series(0, count - 1) as place
         where first_pos >= ${from} order by pos`,
      ),
    { deadlineMs: 60_000 },
  );
  let at = 0;
  return places.flatMap(({ id, pos }) => {
    while (at < heard.length - 1 && heard[at]!.pos <= BigInt(pos)) at++;
    const committed = committedAt.get(id);
    return committed === undefined ? [] : [Math.max(heard[at]!.at - committed, 0)];
  });
}
