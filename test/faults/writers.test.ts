/** Many writers at once, each of whose records must be in the tree, once, and provable. */
import { expect, test } from 'vitest';

import { openDoor } from '../world/door.ts';
import { writeRecords } from '../world/records.ts';
import { allSigned } from '../world/seal.ts';
import { world } from '../world/server.ts';
import { verifyDatabase } from '../../src/verify.ts';
import { openLog } from '../../src/platform/log.ts';

const WRITERS = 32;
/** `RECORDS=2000 npm test -- faults/writers` is the full form. */
const RECORDS_EACH = Number(process.env['RECORDS'] ?? 1000);
const TENANTS = 7;
const ROLLED_BACK = 0.05;
const MS_MAX = 180_000;

test(
  'whatever many writers commit is sealed once and verifies; what is rolled back is not there',
  { timeout: MS_MAX },
  async () => {
    const here = await world();
    const { admin, adminUrl } = here.database;
    const [before] = await admin`select count(*)::int as records from audit_logs`;
    const db = openDoor({ url: adminUrl, max: WRITERS });
    const tenants = Array.from({ length: TENANTS }, (_, n) => `00000000-0000-4000-8000-00000000000${n + 1}`);
    const committed: string[] = [];
    const startedAt = performance.now();
    await Promise.all(
      Array.from({ length: WRITERS }, async (_, writer) => {
        for (let left = RECORDS_EACH; left > 0;) {
          const count = Math.min(left, 1 + Math.floor(Math.random() * 40));
          const tenantId = tenants[(writer + left) % TENANTS]!;
          const write = db.withTx(
            'PLATFORM',
            async (tx) => {
              const ids = await writeRecords(
                tx,
                Array.from({ length: count }, () => ({ tenantId })),
              );
              if (Math.random() < ROLLED_BACK) throw new Error('changed my mind');
              return ids;
            },
            { deadlineMs: 60_000 },
          );
          const ids = await write.catch((cause: Error) => {
            if (cause.message !== 'changed my mind') throw cause;
            return [];
          });
          committed.push(...ids);
          left -= ids.length;
        }
      }),
    );
    const seconds = (performance.now() - startedAt) / 1_000;
    await allSigned(admin);

    const [log] = await admin`select count(*)::int as records from audit_logs`;
    expect(log!['records']).toBe((before!['records'] as number) + WRITERS * RECORDS_EACH);
    const sealed = await admin<{ id: string }[]>`
    select encode(substring(ids from place * 16 + 1 for 16), 'hex')::uuid as id
    from audit_seals cross join lateral generate_series(0, count - 1) as place where tenant_id = any(${tenants})`;
    expect(sealed.map(({ id }) => id).sort()).toEqual(committed.sort());
    await here.server.stop();
    const lines: string[] = [];
    const quiet = openLog({ level: 'error', to: process.stderr });
    await verifyDatabase(
      { settings: here.settings, log: quiet },
      { checkpoints: [], personal: true },
      (line) => lines.push(line),
    );
    expect(lines.filter((line) => line.startsWith('ok'))).toHaveLength(lines.length);
    console.log(
      `${committed.length} records of ${WRITERS} writers in ${seconds.toFixed(1)} s; verified: ${lines.length} logs`,
    );
  },
);
