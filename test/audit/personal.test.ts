import { randomBytes } from 'node:crypto';
import { assert, asyncProperty, dictionary, string, tuple } from 'fast-check';
import { expect, test } from 'vitest';

import {
  commitmentsOf,
  openVault,
  type PersonalValues,
  type PersonalVault,
  subjectOfEmail,
} from '../../src/audit/personal.ts';
import type { Database, Tx } from '../../src/platform/db.ts';
import { expectProven, rowOf } from '../world/auditRecord.ts';
import { freshDatabase } from '../world/database.ts';
import { openDoor } from '../world/door.ts';
import { type World, world } from '../world/server.ts';

const TENANT = '01890000-0000-7000-8000-00000000000a';
const OTHER = '01890000-0000-7000-8000-00000000000b';
const [ANN, BOB] = ['01890000-0000-7000-8000-000000000001', '01890000-0000-7000-8000-000000000002'];
const NOW = '2026-01-02T03:04:05.123456Z';

test('what is sealed for several people is opened with their keys, merged', async () => {
  const { db } = await open();
  const vault = openVault(randomBytes(32));
  await assert(
    asyncProperty(
      string({ unit: 'grapheme' }),
      dictionary(string(), tuple(string(), string())),
      async (name, changes) => {
        const values = new Map<string, PersonalValues>([
          [BOB, { changes, resourceName: name }],
          [ANN, { actor: { email: name, name }, details: { name } }],
        ]);
        const pii = await db.withTx('PLATFORM', (tx) => sealIn(vault, tx, TENANT, values));
        const record = { tenantId: TENANT, pii };
        const keys = await db.withReadTx('PLATFORM', (tx) => vault.keys(tx, [record]));
        expect(vault.open(record, keys)).toEqual({
          changes: Object.fromEntries(Object.entries(changes)),
          resourceName: name,
          actor: { email: name, name },
          details: { name },
        });
        expect(commitmentsOf(pii).map(({ subjectId }) => subjectId)).toEqual([ANN, BOB]);
      },
    ),
    { numRuns: 25 },
  );
});

test('a key opens nothing of another tenant, another person or another master key', async () => {
  const { db } = await open();
  const master = randomBytes(32);
  const vault = openVault(master);
  const sealed = async (tenantId: string) => ({
    tenantId,
    pii: await db.withTx('PLATFORM', (tx) =>
      sealIn(vault, tx, tenantId, new Map([[ANN, { resourceName: 'Ann' }]])),
    ),
  });
  const [here, there] = [await sealed(TENANT), await sealed(OTHER)];

  const keys = await db.withReadTx('PLATFORM', (tx) => vault.keys(tx, [here]));
  expect(vault.open(here, keys).resourceName).toBe('Ann');
  expect(vault.open(there, keys)).toEqual({});
  expect(() => vault.open({ tenantId: TENANT, pii: there.pii }, keys)).toThrow('unable to authenticate data');
  await expect(
    db.withReadTx('PLATFORM', (tx) => openVault(randomBytes(32)).keys(tx, [here])),
  ).rejects.toThrow('unable to authenticate data');
});

test('the same values are sealed, and committed to, differently each time: a commitment cannot be guessed', async () => {
  const { db } = await open();
  const vault = openVault(randomBytes(32));
  const seal = () =>
    db.withTx('PLATFORM', (tx) => sealIn(vault, tx, TENANT, new Map([[ANN, { resourceName: 'Ann' }]])));
  const [first, second] = [await seal(), await seal()];
  expect(first).not.toEqual(second);
  expect(commitmentsOf(first)).not.toEqual(commitmentsOf(second));
});

test('a key that was made in a transaction that failed is not used again', async () => {
  const { db } = await open();
  const vault = openVault(randomBytes(32));
  const values = new Map([[ANN, { resourceName: 'Ann' }]]);
  const undone = db.withTx('PLATFORM', async (tx) => {
    await sealIn(vault, tx, TENANT, values);
    await sealIn(vault, tx, TENANT, values);
    throw new Error('undone');
  });
  await expect(undone).rejects.toThrow('undone');

  const record = {
    tenantId: TENANT,
    pii: await db.withTx('PLATFORM', (tx) => sealIn(vault, tx, TENANT, values)),
  };
  const keys = await db.withReadTx('PLATFORM', (tx) => vault.keys(tx, [record]));
  expect(vault.open(record, keys).resourceName).toBe('Ann');
});

test('two that seal for a new person at once use one key, and neither fails', async () => {
  const { db } = await open();
  const [one, two] = [1, 2].map(() => openVault(Buffer.alloc(32, 7)));
  const values = new Map([[ANN, { resourceName: 'Ann' }]]);
  const sealed = await Promise.all(
    [one!, two!, one!, two!].map((vault) =>
      db.withTx('PLATFORM', async (tx) => ({
        tenantId: TENANT,
        pii: await sealIn(vault, tx, TENANT, values),
      })),
    ),
  );
  const keys = await db.withReadTx('PLATFORM', (tx) => one!.keys(tx, sealed));
  for (const record of sealed) expect(one!.open(record, keys).resourceName).toBe('Ann');
});

test('the subject of an e-mail is a UUIDv8, the same for the same e-mail under the same master key', () => {
  const [here, there] = [openVault(Buffer.alloc(32, 1)), openVault(Buffer.alloc(32, 2))];
  const subject = subjectOfEmail(here.emailHmac('ann@example.com'));
  expect(subject).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  expect(subjectOfEmail(here.emailHmac('ann@example.com'))).toBe(subject);
  expect(subjectOfEmail(there.emailHmac('ann@example.com'))).not.toBe(subject);
});

test('who is erased stays on record without a name: every value shows that it was erased, and every proof holds', async () => {
  const here = await world();
  const { id: tenantId, admin } = await here.tenant();
  const ann = await here.user(admin, 'MEMBER');
  await ann.do('updateUser', { id: ann.id, fullName: 'Ann Gray', phone: '1' });
  await admin.do('deactivateUser', { id: ann.id, reason: 'Left' });
  await here.signIn(ann.email, 'wrong');
  const before = await shownOf(here, ann.id);
  expect(before.map(({ resourceName }) => resourceName)).toContain('Ann Gray');

  await here.database.admin.begin(async (sql) => {
    await sql`set local session_replication_role = replica`;
    await sql`delete from subject_keys where tenant_id = ${tenantId} and subject_id = ${ann.id}`;
  });
  const after = await shownOf(here, ann.id);

  expect(after.map(({ id, action, status }) => [id, action, status])).toEqual(
    before.map(({ id, action, status }) => [id, action, status]),
  );
  const personal = ['email', 'fullName', 'phone'];
  const redactions = after.flatMap(({ changes }) =>
    changes.map(({ path, before: was, after: is, redaction }) =>
      personal.includes(path) ? [was, is, redaction] : [redaction],
    ),
  );
  expect(redactions).toContainEqual([null, null, 'ERASED']);
  expect(redactions.filter((each) => each.length === 3 && each[2] !== 'ERASED')).toEqual([]);
  expect(redactions.filter((each) => each.length === 1 && each[0] !== null)).toEqual([]);
  // She has no name any more; those who acted on her are not erased with her.
  const [hers, others] = [ann.id, admin.id].map((id) => after.filter(({ actor }) => actor.id === id));
  expect(hers!.map(({ actor: { email, name, role } }) => [email, name, role])).toEqual(
    hers!.map(() => [null, null, 'MEMBER']),
  );
  expect(others!.map(({ actor: { email } }) => email)).toEqual(others!.map(() => admin.email));
  for (const record of after) {
    expect(record.resourceName).toBe(null);
    expect(JSON.stringify(record)).not.toMatch(/Ann Gray|A MEMBER|people\.example/);
    expectProven(await rowOf(here, record.id));
  }
});

interface Shown {
  readonly id: string;
  readonly action: string;
  readonly status: string;
  readonly resourceName: string | null;
  readonly actor: Readonly<Record<'id' | 'email' | 'name' | 'role', string | null>>;
  readonly changes: readonly { path: string; before: unknown; after: unknown; redaction: string | null }[];
}

/** Every record about a user, as the API shows it. */
async function shownOf(here: World, userId: string): Promise<Shown[]> {
  const root = await here.root();
  const answer = await root.ask(
    `query ($id: ID!) { auditLogs(filter: { or: [{ resourceId: $id }, { userId: $id }] }) { nodes {
      id action status resourceName details actor { id email name role } changes { path before after redaction } } } }`,
    { id: userId },
  );
  return answer.data.auditLogs.nodes as Shown[];
}

async function open(): Promise<{ db: Database }> {
  const { adminUrl } = await freshDatabase();
  return { db: openDoor({ url: adminUrl }) };
}

async function sealIn(
  vault: PersonalVault,
  tx: Tx,
  tenantId: string,
  values: ReadonlyMap<string, PersonalValues>,
): Promise<Buffer | null> {
  const [sealed = null] = await vault.seal(tx, [{ tenantId, createdAt: NOW, values }]);
  return sealed;
}
