/** What objects were, folded from the log, against what their rows were. */
import { array, assert, asyncProperty, constantFrom } from 'fast-check';
import { eq } from 'drizzle-orm';
import { expect, test } from 'vitest';

import type { Entity } from '../../src/audit/entity.ts';
import { ANY, CHANGED, type Condition, fulfils, inSql } from '../../src/audit/filter.ts';
import { auditLogs, PLATFORM_TENANT } from '../../src/audit/tables.ts';
import type { AuditResource } from '../../src/generated/types.ts';
import { idAt, isoOf, openClock } from '../../src/platform/ids.ts';
import { BRANCH, branches, SETTINGS, TENANT, tenants, tenantSettings } from '../../src/tenants/tables.ts';
import { USER, users } from '../../src/users/tables.ts';
import { freshDatabase } from '../world/database.ts';
import { openDoor } from '../world/door.ts';
import { diffOf, momentOf, now, stateOf } from '../world/history.ts';
import { INSERT_RAW, rawRecord } from '../world/rawRecord.ts';
import { type Answer, type Person, type World, world } from '../world/server.ts';

const COMMANDS_A_RUN = 25;
const clock = openClock();

/** The recorded fields of a row that hold something, by path. */
type Fields = Readonly<Record<string, unknown>>;
type Ids = Readonly<Record<'USER' | 'BRANCH' | 'TENANT' | 'SETTINGS', string>>;

/** What happens to the objects of a tenant; some of it is refused, and some changes nothing. */
const COMMANDS: readonly ((ids: Ids) => readonly [mutation: string, input: object])[] = [
  ...['Ann', 'Ann Gray'].map(
    (fullName) =>
      ({ USER: id }: Ids) =>
        ['updateUser', { id, fullName }] as const,
  ),
  ...['1', null].map(
    (phone) =>
      ({ USER: id }: Ids) =>
        ['updateUser', { id, phone }] as const,
  ),
  ...['MEMBER', 'AUDITOR'].map(
    (role) =>
      ({ USER: id }: Ids) =>
        ['changeUserRole', { id, role }] as const,
  ),
  ({ USER: id }) => ['deactivateUser', { id, reason: 'On leave' }],
  ({ USER: id }) => ['activateUser', { id }],
  ({ USER: id }) => ['deleteUser', { id }],
  ...['North', 'South'].map(
    (name) =>
      ({ BRANCH: id }: Ids) =>
        ['updateBranch', { id, name }] as const,
  ),
  ...['Pier 1', null].map(
    (address) =>
      ({ BRANCH: id }: Ids) =>
        ['updateBranch', { id, address }] as const,
  ),
  ({ BRANCH: id }) => ['deactivateBranch', { id, reason: 'Flood' }],
  ({ BRANCH: id }) => ['activateBranch', { id }],
  ({ BRANCH: id }) => ['deleteBranch', { id }],
  ...['Mine', 'Pit'].map(
    (name) =>
      ({ TENANT: id }: Ids) =>
        ['updateTenant', { id, name }] as const,
  ),
  ({ TENANT: id }) => ['updateTenantSubscription', { id, tier: 'STARTER', maxUsers: 100 }],
  ({ TENANT: id }) => ['updateTenantSubscription', { id, maxUsers: null, endsAt: '2099-01-01T00:00:00Z' }],
  ({ TENANT: id }) => ['deactivateTenant', { id, reason: 'Unpaid' }],
  ({ TENANT: id }) => ['activateTenant', { id }],
  ({ SETTINGS: tenantId }) => [
    'updateSettings',
    { tenantId, organisation: { displayName: 'We' }, sessions: { maxDays: 20 } },
  ],
  ({ SETTINGS: tenantId }) => ['updateSettings', { tenantId, organisation: { displayName: null } }],
];

test(
  'whatever happened to it, an object was at each moment what its row was, and two moments differ as the rows do',
  { timeout: 60_000 },
  async () => {
    const here = await world();
    const root = await here.root();
    await assert(
      asyncProperty(
        array(constantFrom(...COMMANDS), { minLength: COMMANDS_A_RUN, maxLength: COMMANDS_A_RUN }),
        async (commands) => {
          const ids = await newObjects(root);
          const moments = [{ at: now(here), rows: await rowsOf(here, ids) }];
          const done = async (answer: Answer) => {
            if (answer.data) moments.push({ at: momentOf(answer), rows: await rowsOf(here, ids) });
          };
          // The first moment is one of quiet: nothing changed at it.
          for (const command of commands) await done(await root.do(...command(ids)));
          await done(await root.do('deleteTenant', { id: ids.TENANT }));
          expect(moments.length).toBeGreaterThan(3);

          for (const [at, { at: moment, rows }] of moments.entries()) {
            expect(await statesAt(root, ids, isoOf(moment))).toEqual(rows);
            const earlier = moments[Math.max(at - 1, 0)]!;
            expect(await statesAt(root, ids, isoOf(moment - 1n))).toEqual(earlier.rows);
          }
          for (const [at, from] of moments.entries()) {
            const to = moments[at + ((moments.length - at) >> 1)]!;
            expect(await changesBetween(root, ids, from.at, to.at)).toEqual(
              differences(ids, from.rows, to.rows),
            );
          }
        },
      ),
      { numRuns: 4 },
    );
  },
);

test('that a record tells of changes is the same to Postgres and to this process', async () => {
  const fresh = await freshDatabase();
  const db = openDoor({ url: fresh.adminUrl });
  const changes = [{ path: 'role', before: 'MEMBER', after: 'AUDITOR' }];
  const made = [[], changes, []].map((each) =>
    rawRecord({ tenantId: PLATFORM_TENANT, id: idAt(clock.now()), changes: each }),
  );
  await fresh.admin.unsafe(`${INSERT_RAW} $1::text::json)`, [JSON.stringify(made)]);
  const found = (condition: Condition) =>
    db.withReadTx('PLATFORM', (tx) => tx.select().from(auditLogs).where(inSql(condition)));
  const told = await found(CHANGED);
  expect(told.map(({ id }) => id)).toEqual([made[1]!['id']]);
  expect((await found(ANY)).filter((row) => fulfils(row, CHANGED))).toEqual(told);
});

/** A tenant with a user and a branch. */
async function newObjects(root: Person): Promise<Ids> {
  const subdomain = `t-${crypto.randomUUID().slice(0, 13)}`;
  const tenant = await root.do('createTenant', { name: 'Mine', subdomain }, 'tenant { id }');
  const tenantId = tenant.data.tenant.id as string;
  const person = { tenantId, email: `ann@${subdomain}.example`, fullName: 'Ann', role: 'MEMBER' };
  const user = await root.do('createUser', person, 'user { id }');
  const branch = await root.do('createBranch', { tenantId, name: 'North', code: 'N' }, 'branch { id }');
  return {
    USER: user.data.user.id as string,
    BRANCH: branch.data.branch.id as string,
    TENANT: tenantId,
    SETTINGS: tenantId,
  };
}

/** The recorded fields of the rows as they are. */
function rowsOf({ server }: World, ids: Ids): Promise<Readonly<Record<keyof Ids, Fields>>> {
  return server.house.db.withReadTx('PLATFORM', async (tx) => {
    const [user] = await tx.select().from(users).where(eq(users.id, ids.USER));
    const [branch] = await tx.select().from(branches).where(eq(branches.id, ids.BRANCH));
    const [tenant] = await tx.select().from(tenants).where(eq(tenants.id, ids.TENANT));
    const [settings] = await tx.select().from(tenantSettings).where(eq(tenantSettings.tenantId, ids.TENANT));
    return {
      USER: recorded(USER, user),
      BRANCH: recorded(BRANCH, branch),
      TENANT: recorded(TENANT, tenant),
      SETTINGS: recorded(SETTINGS, settings),
    };
  });
}

function recorded<Row>({ columns }: Entity<Row>, row: Row | undefined): Fields {
  const shown = (Object.keys(columns) as (keyof Row & string)[]).filter((path) =>
    ['TRACK', 'PII'].includes(columns[path]),
  );
  return holding(shown.map((path) => [path, row?.[path] ?? null]));
}

function holding(fields: readonly (readonly [string, unknown])[]): Fields {
  return Object.fromEntries(fields.filter(([, value]) => value !== null));
}

/** What the API says the objects were. */
async function statesAt(person: Person, ids: Ids, at: string) {
  const entries = Object.entries(ids) as [AuditResource, string][];
  const states = await Promise.all(
    entries.map(async ([resource, id]) => {
      const { fields = [] } = (await stateOf(person, resource, id, at)) ?? {};
      return [resource, holding(fields.map(({ path, value }) => [path, value]))] as const;
    }),
  );
  return Object.fromEntries(states);
}

async function changesBetween(person: Person, ids: Ids, from: bigint, to: bigint) {
  const entries = Object.entries(ids) as [AuditResource, string][];
  const changes = await Promise.all(
    entries.map(async ([resource, id]) => {
      const found = await diffOf(person, resource, id, isoOf(from), isoOf(to));
      return [resource, found.map(({ path, before, after }) => [path, before, after])] as const;
    }),
  );
  return Object.fromEntries(changes);
}

function differences(
  ids: Ids,
  from: Readonly<Record<keyof Ids, Fields>>,
  to: Readonly<Record<keyof Ids, Fields>>,
) {
  const changes = (Object.keys(ids) as (keyof Ids)[]).map((resource) => {
    const [was, is] = [from[resource], to[resource]];
    const paths = [...new Set([...Object.keys(was), ...Object.keys(is)])].toSorted();
    const found = paths.map((path) => [path, was[path] ?? null, is[path] ?? null]);
    return [resource, found.filter(([, before, after]) => before !== after)];
  });
  return Object.fromEntries(changes) as unknown;
}
