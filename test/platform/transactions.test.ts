import { sql } from 'drizzle-orm';
import { expect, onTestFinished, test } from 'vitest';

import { openConnection } from '../../src/platform/connections.ts';
import { beginTransaction } from '../../src/platform/transactions.ts';
import { freshDatabase } from '../world/database.ts';

test.each(['begin; select 1/0', 'no opening at all'])(
  'the statement that follows a failed opening (%s) in the same round trip writes nothing, and the connection is gone',
  async (opening) => {
    const { adminUrl, admin } = await freshDatabase({ from: '' });
    await admin`create table notes (id int)`;
    const session = { default_transaction_read_only: 'on' };
    const connection = await openConnection({ url: adminUrl, session, connectMs: 1_000 });
    onTestFinished(() => connection.destroy());

    let reached = false;
    const transaction = beginTransaction({
      connection,
      opening,
      deadlineAt: performance.now() + 5_000,
      onDeadline: () => {},
      giveBack: () => {},
    });
    const work = transaction.run(async (tx) => {
      await tx.execute(sql`insert into notes values (1)`);
      reached = true;
    });
    await expect(work).rejects.toMatchObject({ name: 'DatabaseError' });
    await transaction.rollback();
    expect([reached, connection.alive]).toEqual([false, false]);
    expect(await admin`select from notes`).toHaveLength(0);
  },
);
