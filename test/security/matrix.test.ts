/** The authorisation matrix: every root field of the schema, asked by everybody, on both ways in. The rows: matrixRows.ts. */
import { randomUUID } from 'node:crypto';
import type { GraphQLObjectType, GraphQLSchema } from 'graphql';
import { expect, test } from 'vitest';

import { PLATFORM_TENANT } from '../../src/audit/tables.ts';
import { businessRows } from '../world/business.ts';
import { clientOf } from '../world/live.ts';
import {
  cellOf,
  inTurns,
  isShown,
  overreachIn,
  refusalOf,
  shownTo,
  toldBy,
  verdictOf,
} from '../world/matrix.ts';
import {
  makersOn,
  type Principal,
  recordOf,
  setStage,
  type Stage,
  type Thing,
  understudy,
} from '../world/matrixStage.ts';
import { allSealed } from '../world/seal.ts';
import { type LiveStep, subscribe } from '../world/socket.ts';
import { introspected, selectionOf, selectionsOf } from '../world/selection.ts';
import { reasonOf, type Reply, type Speech, speechOver, TRANSPORTS } from '../world/transports.ts';
import { type Aim, type Look, MUTATIONS, QUERIES, SUBSCRIPTIONS } from './matrixRows.ts';

const AT_ONCE = 6;
/** How deep a payload or an answer is looked into for what was not to be reached. */
const LEVELS = 4;
const MATRIX_MS_MAX = 180_000;
const ID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g;

test('every root field has a row, and every row a root field', async () => {
  const { here } = await setStage();
  const schema = await introspected(here.anybody);
  expect(Object.keys(QUERIES).toSorted()).toEqual(fieldsOf(schema.getQueryType()));
  expect(Object.keys(MUTATIONS).toSorted()).toEqual(fieldsOf(schema.getMutationType()));
  expect(Object.keys(SUBSCRIPTIONS).toSorted()).toEqual(fieldsOf(schema.getSubscriptionType()));
});

test.for(TRANSPORTS)(
  'over %s every query shows everybody what is theirs to see, and nothing else',
  { timeout: MATRIX_MS_MAX },
  async (transport) => {
    const { stage, speech, schema } = await matrixOver(transport);
    const cases = Object.entries(QUERIES).flatMap(([field, looks]) =>
      looks.flatMap((look) => stage.principals.map((who) => ({ field, look, who }))),
    );
    const before = await recordsOf(stage);
    const surprises = await inTurns(AT_ONCE, cases, async ({ field, look, who }) => {
      const name = `${field} (${look.kind ?? ''}) as ${who.name}`;
      const told = await lookAt(stage, speech, field, look, who);
      const expected = {
        refused: refusalOf(look.cells, who),
        shown: shownTo(look.cells, stage, look.kind, who),
        more: [] as string[],
      };
      const deep = await reachedFrom(stage, speech, schema, field, look, who);
      const reached = [...new Set(deep)].map((each) => `${name} reached ${each}`);
      return [...differences(name, told, expected), ...reached];
    });
    expect(surprises.flat()).toEqual([]);
    // Neither answers nor refusals of queries are on record.
    expect(await recordsOf(stage)).toBe(before);
  },
);

test.for(TRANSPORTS)(
  'over %s every mutation is done for those who may, and for the others it leaves a record and nothing else',
  { timeout: MATRIX_MS_MAX },
  async (transport) => {
    const { stage, speech, schema } = await matrixOver(transport);
    const make = makersOn(stage);
    const all = Object.entries(MUTATIONS).flatMap(([mutation, aims]) =>
      aims.flatMap((aim) =>
        stage.principals.map((who) => {
          const verdict = verdictOf(aim.cells, who, aim.hidden);
          const name = `${mutation}${aim.at ? ` at ${aim.at}` : ''} as ${who.name}`;
          return { name, mutation, aim, who, verdict };
        }),
      ),
    );
    const surprises: string[] = [];
    const prepared = async (each: (typeof all)[number]) => {
      try {
        const who = each.aim.spends && !each.verdict ? await understudy(stage, each.who) : each.who;
        return [{ ...each, who, input: await each.aim.input?.(make, who) }];
      } catch (cause) {
        surprises.push(`${each.name} could not be tried: ${(cause as Error).message}`);
        return [];
      }
    };
    const perform = (mutation: string, { person }: Principal, input: object | undefined) =>
      speech.say(person?.token, mutationOf(schema, mutation), input ? { input } : {});

    const denied = (
      await inTurns(
        AT_ONCE,
        all.filter(({ verdict }) => verdict),
        prepared,
      )
    ).flat();
    const rows = await businessRows(stage.here.database);
    const refusals = await inTurns(AT_ONCE, denied, async (each) => {
      const { mutation, who, input, verdict, name } = each;
      const reply = await perform(mutation, who, input);
      surprises.push(...differences(name, { refused: reasonOf(reply) }, { refused: verdict }));
      if (verdict === each.aim.hidden) {
        const madeUp = JSON.parse(JSON.stringify(input).replaceAll(ID, () => randomUUID())) as object;
        const missing = toldBy(await perform(mutation, who, madeUp));
        if (missing !== toldBy(reply)) surprises.push(`${name} tells what is missing from what is hidden`);
      }
      return { ...each, reply };
    });
    surprises.push(...(await unrecorded(stage, refusals)));
    expect(surprises).toEqual([]);
    expect(await businessRows(stage.here.database)).toEqual(rows);

    const allowed = (
      await inTurns(
        AT_ONCE,
        all.filter(({ verdict }) => !verdict),
        prepared,
      )
    ).flat();
    const done = await inTurns(AT_ONCE, allowed, async (each) => {
      const { mutation, who, input, name, aim } = each;
      const reply = await perform(mutation, who, input);
      surprises.push(...differences(name, { refused: reasonOf(reply) }, { refused: undefined }));
      const own = cellOf(aim.cells, who) !== 'P';
      const overreach = own ? overreachIn(reply.data, stage, who) : [];
      surprises.push(...overreach.map((path) => `${name} reached ${path}`));
      if (aim.spends && who.person) await speech.hangUp(who.person.token);
      return { ...each, reply };
    });
    surprises.push(...(await unrecorded(stage, done)));
    expect(surprises).toEqual([]);
  },
);

test('over HTTP no subscription begins, whoever asks', async () => {
  const { stage, speech, schema } = await matrixOver('HTTP');
  for (const field of Object.keys(SUBSCRIPTIONS)) {
    const type = schema.getSubscriptionType()!.getFields()[field]!.type;
    for (const { name, person } of stage.principals) {
      const reply = await speech.say(
        person?.token,
        `subscription { ${field} ${selectionOf(schema, type, 3)} }`,
      );
      expect([field, name, reply.data ?? null, reply.errors.length]).toEqual([field, name, null, 1]);
      expect([field, name, reply.errors[0]!.extensions['code']]).not.toContain('INTERNAL_SERVER_ERROR');
    }
  }
});

test('over WEBSOCKET every subscription delivers what is theirs to see, and nothing else', async () => {
  const { stage, speech } = await matrixOver('WEBSOCKET');
  const { here, home, abroad, member, stranger, foreigner } = stage;
  const streams = Object.entries(SUBSCRIPTIONS).filter(([, { toOne }]) => toOne === undefined);
  const cases = streams.flatMap(([field, row]) =>
    stage.principals.map((who) => ({ ...row, name: `${field} as ${who.name}`, field, who })),
  );
  const beginnings = await inTurns(AT_ONCE, cases, async (each) => {
    const { cells, field, who, selection } = each;
    const operation = `subscription { live: ${field} ${selection} }`;
    if (refusalOf(cells, who))
      return { ...each, steps: undefined, reply: await speech.say(who.person?.token, operation) };
    const steps = subscribe<LiveStep>(clientOf(here, who.person!.token), operation);
    // The first step only says where the stream begins.
    await steps.next();
    return { ...each, steps, reply: undefined };
  });
  const refused = beginnings.flatMap(({ name, reply }) => (reply ? [[name, reasonOf(reply)]] : []));
  const closed = cases.flatMap(({ name, cells, who }) =>
    refusalOf(cells, who) ? [[name, refusalOf(cells, who)]] : [],
  );
  expect(refused).toEqual(closed);
  // The last two are for everybody who listens in one tenant and in the other.
  const knocks = [
    { label: 'stranger', person: stranger, tenantId: home.id },
    { label: 'foreigner', person: foreigner, tenantId: abroad.id },
    { label: 'member', person: member, tenantId: home.id, near: true },
    { label: 'foreign admin', person: abroad.admin, tenantId: abroad.id },
  ];
  const failures: Thing[] = [];
  for (const { person, ...rest } of knocks) {
    const { requestId } = await here.signIn(person.email, 'wrong password');
    failures.push({ ...rest, id: await recordOf(here, requestId), of: person.id });
    // What one batch seals is in order in each log, and who follows all logs gets it log by log.
    await allSealed(here.database.admin);
  }
  for (const { cells, name, who, steps } of beginnings) {
    if (!steps) continue;
    const expected = failures.filter((thing) => isShown(cells, thing, who));
    const last = expected.at(-1)!.id;
    const seen = JSON.stringify(await steps.until(({ node }) => (node?.log?.id ?? node?.id) === last));
    const shown = failures.filter(({ id }) => seen.includes(id));
    expect([name, shown.map(({ label }) => label)]).toEqual([name, expected.map(({ label }) => label)]);
  }
});

test('over WEBSOCKET a subscription to one thing shows it to those who may see it, and tells the others nothing', async () => {
  const { stage, speech } = await matrixOver('WEBSOCKET');
  for (const [field, { cells, selection, toOne }] of Object.entries(SUBSCRIPTIONS)) {
    if (!toOne) continue;
    for (const who of stage.principals) {
      const shown: string[] = [];
      const told: (string | undefined)[] = [];
      for (const { id, label } of [...stage.things[toOne], { id: randomUUID(), label: 'missing' }]) {
        const reply = await speech.say(
          who.person?.token,
          `subscription { answer: ${field}(id: "${id}") ${selection} }`,
        );
        if (reply.errors.length === 0) shown.push(label);
        else told.push(reasonOf(reply));
      }
      expect([field, who.name, shown]).toEqual([field, who.name, shownTo(cells, stage, toOne, who)]);
      expect(new Set(told)).toEqual(new Set([refusalOf(cells, who) ?? 'AUDIT_EXPORT_NOT_FOUND']));
    }
  }
});

async function matrixOver(transport: (typeof TRANSPORTS)[number]) {
  const stage = await setStage();
  const { here } = stage;
  return { stage, speech: speechOver(transport, here), schema: await introspected(here.anybody) };
}

/** What somebody is told, as the matrix puts it: why not, or the things that are shown, and what was told besides. */
async function lookAt(stage: Stage, { say }: Speech, field: string, look: Look, { person }: Principal) {
  const { args, kind, selection } = look;
  const ask = (given: string) => say(person?.token, `{ answer: ${field}${given} ${selection} }`);
  const things = kind ? stage.things[kind] : [];
  if (typeof args === 'string') {
    const reply = await ask(args);
    const text = JSON.stringify(reply.data ?? null);
    const shown = things.filter(({ id }) => text.includes(id)).map(({ label }) => label);
    return { refused: reasonOf(reply), shown, more: uncounted(reply) };
  }
  const replies = await inTurns(2, things, async (thing) => ({ thing, reply: await ask(args(thing.id)) }));
  const missing = await ask(args(randomUUID()));
  const isSeen = ({ reply }: { reply: Reply }) => reply.errors.length === 0 && !isNothing(reply.data.answer);
  const hidden = replies.filter((each) => !isSeen(each));
  const reasons = new Set(hidden.map(({ reply }) => reasonOf(reply)));
  return {
    refused: person && !reasons.has('SCOPE_MISSING') ? undefined : [...reasons].join(),
    shown: replies.filter(isSeen).map(({ thing }) => thing.label),
    more: hidden
      .filter(({ reply }) => toldBy(reply) !== toldBy(missing))
      .map(({ thing }) => `${thing.label} is told from what is missing: ${toldBy(reply(hidden, thing))}`),
  };
}

/** Null, or an empty list or page. */
function isNothing(answer: { readonly nodes?: readonly unknown[] } | readonly unknown[] | null): boolean {
  const listed = Array.isArray(answer) ? answer : (answer as { nodes?: readonly unknown[] } | null)?.nodes;
  return answer === null || listed?.length === 0;
}

function reply(replies: readonly { thing: Thing; reply: Reply }[], wanted: Thing): Reply {
  return replies.find(({ thing }) => thing === wanted)!.reply;
}

/** A count must not tell of more than what is listed. */
function uncounted({ data }: Reply): string[] {
  const { totalCount, nodes, recent } = (data?.answer ?? {}) as {
    totalCount?: number;
    nodes?: readonly unknown[];
    recent?: { nodes: readonly unknown[] };
  };
  const listed = nodes ?? recent?.nodes;
  if (totalCount === undefined || !listed || totalCount === listed.length) return [];
  return [`counts ${totalCount} where ${listed.length} are listed`];
}

/** Everything that hangs together with what a query shows, and is not to be seen. */
async function reachedFrom(
  stage: Stage,
  { say }: Speech,
  schema: GraphQLSchema,
  field: string,
  { args, kind, cells }: Look,
  who: Principal,
): Promise<string[]> {
  if (!who.person) return [];
  const { type, args: known } = schema.getQueryType()!.getFields()[field]!;
  const few = known.some(({ name }) => name === 'first') ? '(first: 5)' : '';
  const shown =
    typeof args === 'string'
      ? []
      : stage.things[kind!].filter(({ label }) => shownTo(cells, stage, kind, who).includes(label));
  const given = typeof args === 'string' ? [few] : shown.map(({ id }) => args(id));
  const operations = given.flatMap((each) =>
    selectionsOf(schema, type, LEVELS).map((selection) => `{ ${field}${each} ${selection} }`),
  );
  const replies = await inTurns(2, operations, (each) => say(who.person!.token, each));
  return replies.flatMap((each) => [
    ...overreachIn(each.data, stage, who),
    ...(each.errors[0] && !refusalOf(cells, who)
      ? [`${reasonOf(each)} at ${each.errors[0].path?.join('.')}`]
      : []),
  ]);
}

function mutationOf(schema: GraphQLSchema, mutation: string): string {
  const { type, args } = schema.getMutationType()!.getFields()[mutation]!;
  const selection = selectionOf(schema, type, LEVELS - 1);
  return args[0]
    ? `mutation ($input: ${String(args[0].type)}) { ${mutation}(input: $input) ${selection} }`
    : `mutation { ${mutation} ${selection} }`;
}

/** What is wrong with the records of those calls: each leaves one, in the right log, by the right actor, with the right end. */
async function unrecorded(
  { here, home }: Stage,
  calls: readonly {
    name: string;
    mutation: string;
    aim: Aim;
    who: Principal;
    verdict: string | undefined;
    reply: Reply;
  }[],
): Promise<string[]> {
  const requestIds = calls.map(({ reply }) => reply.requestId);
  const records = await here.database.admin`
    select request_id, tenant_id, user_id, status, failure, context ->> 'transport' as transport from audit_logs
    where request_id = any(${requestIds}) order by id`;
  return calls.flatMap(({ name, mutation, aim, who, verdict, reply }) => {
    const left = records.filter(({ request_id }) => request_id === reply.requestId);
    const { log = 'HOME' } = aim;
    const logs = { HOME: home.id, OWN: who.tenantId, NEW: newTenantOf(reply, mutation) };
    const proving = cellOf(aim.cells, who) === 'P';
    const expected = {
      tenantId: verdict ? who.tenantId : logs[log],
      userId: proving ? 'whoever proved it' : (who.person?.id ?? null),
      status: verdict ? 'failure' : 'success',
      failure: verdict ?? null,
    };
    const found = left.map((row) => ({
      tenantId: row['tenant_id'] as string,
      userId: proving ? 'whoever proved it' : (row['user_id'] as string | null),
      status: row['status'] as string,
      failure: row['failure'] as string | null,
    }));
    const times = mutation === 'register' ? 2 : 1;
    return differences(
      `the record of ${name}`,
      found,
      Array.from({ length: times }, () => expected),
    );
  });
}

function newTenantOf({ data }: Reply, mutation: string): string {
  const payload = data?.[mutation];
  return (payload?.tenant?.id ?? payload?.user?.tenantId ?? PLATFORM_TENANT) as string;
}

function differences(name: string, found: unknown, expected: unknown): string[] {
  const [is, should] = [JSON.stringify(found), JSON.stringify(expected)];
  return is === should ? [] : [`${name}: ${is} instead of ${should}`];
}

async function recordsOf({ here }: Stage): Promise<number> {
  const [row] = await here.database.admin`select count(*)::int as count from audit_logs`;
  return row!['count'] as number;
}

function fieldsOf(type: GraphQLObjectType | null | undefined): string[] {
  return Object.keys(type!.getFields()).toSorted();
}
