import { expect, test } from 'vitest';

import { clientOf } from '../world/live.ts';
import { openDoor } from '../world/door.ts';
import { sealedRecords, writeRecords } from '../world/records.ts';
import { allSealed } from '../world/seal.ts';
import { type Person, world } from '../world/server.ts';
import { type LiveStep, subscribe } from '../world/socket.ts';
import { gate, until } from '../world/wait.ts';

/** `HELD_SECONDS=10 npm test -- faults/heldOpen` keeps it open that long; otherwise until the others have been delivered. */
const SECONDS = Number(process.env['HELD_SECONDS'] ?? 0);
const OTHERS = 60;
/** A mutation has five seconds for its transaction: who holds one open for longer is somebody else. */
const DEADLINE_MS = (SECONDS + 60) * 1_000;
const FOLLOW = `subscription ($after: String) { auditLogAppended(after: $after) { cursor node { id } } }`;

test(
  'a write transaction that stays open delays its own record and nobody else’s, and that one comes after its commit',
  { timeout: DEADLINE_MS + 30_000 },
  async () => {
    const here = await world();
    const { admin: sql, adminUrl } = here.database;
    const { admin } = await here.tenant();
    const follow = async ({ token }: Person) => {
      const steps = subscribe<LiveStep>(clientOf(here, token), FOLLOW);
      await steps.next();
      const got = { ids: [] as string[], at: new Map<string, number>() };
      void (async () => {
        for (;;) {
          const { node } = await steps.next();
          if (!node) continue;
          got.ids.push(node.id as string);
          got.at.set(node.id as string, performance.now());
        }
      })().catch(() => {});
      return got;
    };
    await allSealed(sql);
    const before = (await sealedRecords(sql)).length;
    const [own, all] = [await follow(admin), await follow(await here.root())];

    const held = gate();
    const entered = gate();
    const long = openDoor({ url: adminUrl }).withTx(
      'PLATFORM',
      async (tx) => {
        const [id] = await writeRecords(tx, [{ tenantId: admin.tenantId! }]);
        entered.open();
        await held.passed;
        return id!;
      },
      { deadlineMs: DEADLINE_MS },
    );
    await entered.passed;
    const ids: string[] = [];
    const delays: number[] = [];
    for (
      const since = performance.now();
      ids.length < OTHERS || performance.now() - since < SECONDS * 1_000;
    ) {
      const { data } = await admin.do('updateTenant', { id: admin.tenantId, name: `Held ${ids.length}` });
      const answeredAt = performance.now();
      const id = data.receipts[0].id as string;
      await until('it is delivered', () => own.at.has(id) && all.at.has(id));
      delays.push(own.at.get(id)! - answeredAt);
      ids.push(id);
    }
    expect(own.ids).toEqual(ids);
    held.open();
    const late = await long;
    await until('the held one is delivered', () => own.at.has(late) && all.at.has(late));

    expect(own.ids).toEqual([...ids, late]);
    const sealed = (await sealedRecords(sql)).slice(before).map(({ id }) => id);
    expect(all.ids.slice(-ids.length - 1)).toEqual([...ids, late]);
    expect(sealed.slice(-ids.length - 1)).toEqual([...ids, late]);
    const [p50, p99] = [0.5, 0.99].map(
      (at) => delays.toSorted((a, b) => a - b)[Math.floor(delays.length * at)]!,
    );
    console.log(
      `${ids.length} mutations beside an open transaction, delivered after p50 ${p50!.toFixed(0)}, p99 ${p99!.toFixed(0)} ms from their answers`,
    );
    expect(p50).toBeLessThan(500);
  },
);
