/** Those who are no longer, or not yet, who their token says: the same rows, asked by them. */
import { type GraphQLObjectType, Kind } from 'graphql';
import { expect, test } from 'vitest';

import { PLATFORM_TENANT } from '../../src/audit/tables.ts';
import { openSchema } from '../../src/graphql/schema.ts';
import { sessionOf } from '../world/auditRecord.ts';
import { businessRows } from '../world/business.ts';
import { inTurns, refusalOf } from '../world/matrix.ts';
import { makersOn, type Principal, setStage, type Stage } from '../world/matrixStage.ts';
import { selectionOf } from '../world/selection.ts';
import { PASSWORD } from '../world/server.ts';
import { reasonOf, type Reply, speechOver, TRANSPORTS } from '../world/transports.ts';
import { until } from '../world/wait.ts';
import { MUTATIONS, QUERIES, SUBSCRIPTIONS } from './matrixRows.ts';

const AT_ONCE = 6;
const MATRIX_MS_MAX = 120_000;
const PUBLIC = /^P( P)*$/;
const schema = openSchema();

/** Why each of them is nobody. */
const PRETENDERS = {
  'a deactivated user': 'SESSION_REVOKED',
  'a deleted user': 'SESSION_REVOKED',
  'a user of a deactivated tenant': 'TENANT_INACTIVE',
  'an expired token': 'TOKEN_EXPIRED',
  'a token of a revoked session': 'SESSION_REVOKED',
  'a refresh token': 'TOKEN_INVALID',
  'a token of a session that never was': 'TOKEN_INVALID',
} as const;

test(
  'whoever may not act is refused every field but those that sign in, each refused mutation is on record, and nothing changes',
  { timeout: MATRIX_MS_MAX },
  async () => {
    const stage = await setStage();
    const tokens = await pretenders(stage);
    const operations = await operationsOf(stage);
    const closed = operations.filter(({ cells }) => !PUBLIC.test(cells));
    const { say } = speechOver('HTTP', stage.here);
    const before = await businessRows(stage.here.database);
    const asked = Object.entries(tokens).flatMap(([name, token]) =>
      closed.map((operation) => ({ ...operation, name, token })),
    );
    const replies = await inTurns(AT_ONCE, asked, async (each) => ({
      ...each,
      reply: await say(each.token, each.query, each.variables),
    }));
    const answered = replies.map(({ name, field, reply }) => [name, field, reasonOf(reply)]);
    const refused = asked.map(({ name, field }) => [
      name,
      field,
      PRETENDERS[name as keyof typeof PRETENDERS],
    ]);
    expect(answered).toEqual(refused);
    expect(await businessRows(stage.here.database)).toEqual(before);
    expect(
      await recordsOf(
        stage,
        replies.filter(({ field }) => field in QUERIES),
      ),
    ).toEqual([]);
    const mutations = replies.filter(({ field }) => field in MUTATIONS);
    expect(await recordsOf(stage, mutations)).toEqual(
      mutations.map(({ reply }) => ({
        tenant_id: PLATFORM_TENANT,
        user_id: null,
        status: 'failure',
        failure: reasonOf(reply),
      })),
    );
    // On a socket they do not even get in, and for what is open to all no token is needed.
    const socket = speechOver('WEBSOCKET', stage.here);
    for (const [name, token] of Object.entries(tokens)) {
      const { query } = closed.find(({ field }) => field === 'me')!;
      expect([name, reasonOf(await socket.say(token, query))]).toEqual([name, 'CLOSED_4403']);
      const signIn = 'mutation ($input: LoginInput!) { login(input: $input) { expiresAt } }';
      const input = { email: stage.home.admin.email, password: PASSWORD };
      expect([name, reasonOf(await say(token, signIn, { input }))]).toEqual([name, undefined]);
    }
  },
);

test.for(TRANSPORTS)('over %s a token acts with the role its user has now', async (transport) => {
  const stage = await setStage();
  const { here, home } = stage;
  const [demoted, promoted] = [
    await here.user(home.admin, 'TENANT_ADMIN'),
    await here.user(home.admin, 'MEMBER'),
  ];
  const operations = await operationsOf(stage);
  const { say } = speechOver(transport, here);
  for (const person of [demoted, promoted])
    expect(reasonOf(await say(person.token, '{ me { id } }'))).toBeUndefined();
  await home.admin.do('changeUserRole', { id: demoted.id, role: 'MEMBER' });
  await home.admin.do('changeUserRole', { id: promoted.id, role: 'AUDITOR' });

  const roles = [
    { name: 'MEMBER', person: demoted, tenantId: home.id },
    { name: 'AUDITOR', person: promoted, tenantId: home.id },
  ] as const satisfies readonly Principal[];
  for (const who of roles) {
    // Subscriptions are asked for in graphql/follow.test.ts; queries change nothing, and what is refused neither.
    const asked = operations.filter(({ field, cells }) => field in QUERIES || refusalOf(cells, who));
    const answered = await inTurns(AT_ONCE, asked, async ({ field, query, variables }) => [
      field,
      reasonOf(await say(who.person.token, query, variables)) === 'SCOPE_MISSING',
    ]);
    expect(answered).toEqual(
      asked.map(({ field, cells }) => [field, refusalOf(cells, who) === 'SCOPE_MISSING']),
    );
  }
});

test('who has an unproven e-mail where a proven one is asked for can prove it, see itself and leave, and nothing else', async () => {
  const stage = await setStage();
  const { here, home } = stage;
  const operations = await operationsOf(stage);
  const unproven = await here.user(home.admin, 'TENANT_ADMIN');
  await here.database.admin.begin(async (sql) => {
    await sql`set local session_replication_role = replica`;
    await sql`update users set email_verified_at = now() where id = ${home.admin.id}`;
  });
  const settings = { tenantId: home.id, security: { requireVerifiedEmail: true } };
  expect((await home.admin.do('updateSettings', settings)).errors).toEqual([]);

  const { say } = speechOver('HTTP', here);
  const asked = operations.filter(
    ({ scope, field }) => scope !== undefined && scope !== 'SIGNED_IN' && !(field in SUBSCRIPTIONS),
  );
  const answered = await inTurns(AT_ONCE, asked, async ({ field, query, variables }) => [
    field,
    reasonOf(await say(unproven.token, query, variables)),
  ]);
  expect(answered).toEqual(asked.map(({ field }) => [field, 'EMAIL_NOT_VERIFIED']));
  expect((await unproven.ask('{ me { emailVerified } sessions { id } }')).errors).toEqual([]);
  expect((await unproven.do('resendVerification', undefined)).errors).toEqual([]);
  expect((await unproven.do('logout', undefined)).errors).toEqual([]);
});

test('too many failed sign-ins to an account do not touch the sessions it has', async () => {
  const { here, member } = await setStage({}, {});
  const reasons = await inTurns(2, Array.from({ length: 12 }), async () =>
    reasonOf(await here.signIn(member.email, 'wrong password')),
  );
  expect(reasons).toContain('TOO_MANY_ATTEMPTS');
  expect((await member.ask('{ me { id } }')).data).toEqual({ me: { id: member.id } });
  expect((await member.do('updateUser', { id: member.id, fullName: 'Still here' })).errors).toEqual([]);
});

test('who is invited and has not accepted has no way in', async () => {
  const stage = await setStage();
  const { data } = await stage.home.admin.do(
    'inviteUser',
    { email: 'guest@people.example' },
    'user { id status }',
  );
  expect(data.user.status).toBe('INVITED');
  for (const password of [PASSWORD, '', 'guest@people.example'])
    expect(reasonOf(await stage.here.signIn('guest@people.example', password))).toBe('INVALID_CREDENTIALS');
});

async function pretenders({ here, root, home }: Stage): Promise<Record<keyof typeof PRETENDERS, string>> {
  const { admin } = home;
  const off = await here.tenant('Off');
  const [deactivated, deleted, revoked] = await Promise.all(
    ['TENANT_ADMIN', 'TENANT_ADMIN', 'TENANT_ADMIN'].map((role) => here.user(admin, role)),
  );
  const { tokens } = here.server.house.services;
  const expired = tokens.sign({ userId: admin.id, sessionId: sessionOf(admin), lifetimeSeconds: 1 }).token;
  const never = tokens.sign({ userId: admin.id, sessionId: admin.id }).token;
  await admin.do('deactivateUser', { id: deactivated!.id, reason: 'Left' });
  await admin.do('deleteUser', { id: deleted!.id });
  await revoked!.do('logout', undefined);
  await root.do('deactivateTenant', { id: off.id, reason: 'Unpaid' });
  await until('the token has expired', () => !tokens.verify(expired).ok);
  return {
    'a deactivated user': deactivated!.token,
    'a deleted user': deleted!.token,
    'a user of a deactivated tenant': off.admin.token,
    'an expired token': expired,
    'a token of a revoked session': revoked!.token,
    'a refresh token': admin.refreshToken,
    'a token of a session that never was': never,
  };
}

/** One valid operation of each root field, by its row. */
async function operationsOf(stage: Stage) {
  const make = makersOn(stage);
  const nobody: Principal = { name: 'ANONYMOUS', person: undefined, tenantId: PLATFORM_TENANT };
  const queries = Object.entries(QUERIES).map(([field, [look]]) => {
    const given = typeof look!.args === 'string' ? look!.args : look!.args(stage.things[look!.kind!][0]!.id);
    const query = `{ ${field}${given} ${look!.selection} }`;
    return { field, cells: look!.cells, query, variables: {}, scope: scopeOf(schema.getQueryType()!, field) };
  });
  const mutations = await inTurns(AT_ONCE, Object.entries(MUTATIONS), async ([field, [aim]]) => {
    const { type, args } = schema.getMutationType()!.getFields()[field]!;
    const selection = selectionOf(schema, type, 1);
    const query = args[0]
      ? `mutation ($input: ${String(args[0].type)}) { ${field}(input: $input) ${selection} }`
      : `mutation { ${field} ${selection} }`;
    const input = await aim!.input?.(make, nobody);
    return {
      field,
      cells: aim!.cells,
      query,
      variables: input ? { input } : {},
      scope: scopeOf(schema.getMutationType()!, field),
    };
  });
  return [...queries, ...mutations];
}

/** What @requires asks for; undefined where the field is open to all. */
function scopeOf(root: GraphQLObjectType, field: string): string | undefined {
  const { directives = [] } = root.getFields()[field]!.astNode!;
  const scope = directives.find(({ name }) => name.value === 'requires')?.arguments?.[0]?.value;
  return scope?.kind === Kind.ENUM ? scope.value : undefined;
}

/** What is on record of those calls, in their order. */
async function recordsOf({ here }: Stage, calls: readonly { reply: Reply }[]) {
  const ids = calls.map(({ reply }) => reply.requestId);
  const rows = await here.database.admin`
    select request_id, tenant_id, user_id, status, failure from audit_logs where request_id = any(${ids})`;
  return ids.flatMap((id) =>
    rows
      .filter(({ request_id }) => request_id === id)
      .map(({ tenant_id, user_id, status, failure }) => ({ tenant_id, user_id, status, failure })),
  );
}
