import { expect, test } from 'vitest';

import { encodeCursor } from '../../src/platform/cursor.ts';
import { record } from '../world/records.ts';
import { allSealed } from '../world/seal.ts';
import { type Person, type World, world } from '../world/server.ts';
import { type LiveStep, socketClient, subscribe } from '../world/socket.ts';

const FEED = `query Feed($after: String, $first: Int, $filter: AuditLogFilter, $from: FeedStart! = BEGINNING) {
  auditFeed(after: $after, first: $first, filter: $filter, from: $from) {
    edges { cursor node { id position } } nodes { id } nextCursor hasMore } }`;
const TAIL = `subscription Tail($after: String, $filter: AuditLogFilter) {
  auditLogAppended(after: $after, filter: $filter) { cursor node { id } } }`;

interface Page {
  readonly edges: readonly { cursor: string; node: { id: string; position: number } }[];
  readonly nodes: readonly { id: string }[];
  readonly nextCursor: string;
  readonly hasMore: boolean;
}

async function ask(reader: Person, variables: object = {}): Promise<Page> {
  const { data, errors } = await reader.ask(FEED, variables);
  expect(errors).toEqual([]);
  return data.auditFeed as Page;
}

/** Every page from there to the end of the log. */
async function pagesOf(reader: Person, variables: Record<string, unknown>): Promise<Page[]> {
  const pages: Page[] = [];
  for (let { after } = variables; ; after = pages.at(-1)!.nextCursor) {
    pages.push(await ask(reader, { ...variables, after }));
    if (!pages.at(-1)!.hasMore) return pages;
  }
}

const idsOf = (pages: readonly Page[]) => pages.flatMap(({ nodes }) => nodes.map(({ id }) => id));

/** The sealed log of a tenant, or of all. */
async function logOf({ database }: World, tenantId?: string): Promise<string[]> {
  const rows = await database.admin`
    select encode(substring(ids from place * 16 + 1 for 16), 'hex')::uuid as id
    from audit_seals cross join generate_series(0, count - 1) as place
    where ${tenantId ?? null}::uuid is null or tenant_id = ${tenantId ?? null} order by first_pos + place`;
  return rows.map(({ id }) => id as string);
}

async function rename({ admin }: { admin: Person }, times: number): Promise<string[]> {
  const ids: string[] = [];
  for (let time = 0; time < times; time++) {
    const { data } = await admin.do('updateUser', {
      id: admin.id,
      fullName: `Name ${ids.length} ${Math.random()}`,
    });
    ids.push(data.receipts[0].id as string);
  }
  return ids;
}

test('pages follow one another in sealed order, oldest first, to the end of the log, and from there on', async () => {
  const here = await world();
  const [home, abroad] = [await here.tenant(), await here.tenant('Globex')];
  await Promise.all([rename(home, 12), rename(abroad, 12)]);
  const root = await here.root();
  await allSealed(here.database.admin);

  for (const [reader, tenantId] of [
    [home.admin, home.id],
    [root, undefined],
  ] as const) {
    const pages = await pagesOf(reader, { first: 5 });
    expect(idsOf(pages)).toEqual(await logOf(here, tenantId));
    expect(pages.slice(0, -1).map(({ nodes }) => nodes.length)).toEqual(pages.slice(1).map(() => 5));
    for (const { edges, nodes, nextCursor } of pages) {
      expect(edges.map(({ node }) => node.id)).toEqual(nodes.map(({ id }) => id));
      expect(edges.at(-1)!.cursor).toBe(nextCursor);
    }
  }
  const renamed = await pagesOf(home.admin, { first: 5, filter: { actions: ['USER_UPDATED'] } });
  expect(renamed.map(({ nodes }) => nodes.length)).toEqual([5, 5, 2]);
  const { edges, nextCursor } = (await pagesOf(home.admin, {})).at(-1)!;
  expect(edges.map(({ node }) => node.position)).toEqual(edges.map((_, place) => place));
  expect(await ask(home.admin, { after: nextCursor })).toEqual({
    edges: [],
    nodes: [],
    nextCursor,
    hasMore: false,
  });
  const later = await rename(home, 3);
  await allSealed(here.database.admin);
  expect(idsOf([await ask(home.admin, { after: nextCursor })])).toEqual(later);
});

test('who begins at the end gets nothing but a cursor, and with it what comes', async () => {
  const here = await world();
  const home = await here.tenant();
  await allSealed(here.database.admin);
  for (const reader of [home.admin, await here.root()]) {
    await allSealed(here.database.admin);
    const { nodes, nextCursor, hasMore } = await ask(reader, { from: 'END' });
    expect([nodes, hasMore]).toEqual([[], false]);
    const later = await rename(home, 2);
    await allSealed(here.database.admin);
    expect(idsOf([await ask(reader, { after: nextCursor, from: 'END' })])).toEqual(later);
  }
});

test('polling, then following, then polling again gives each record once, whatever the filter was before', async () => {
  const here = await world();
  const home = await here.tenant();
  const member = await here.user(home.admin, 'MEMBER');
  const seen: string[] = [];
  let after = (await ask(home.admin, { from: 'END' })).nextCursor;
  await allSealed(here.database.admin);
  after = (await ask(home.admin, { from: 'END', filter: { userId: member.id } })).nextCursor;
  const written: string[] = [];
  for (let round = 0; round < 4; round++) {
    written.push(...(await rename(home, 5)));
    const page = await ask(home.admin, { after, first: 3, filter: { userId: home.admin.id } });
    seen.push(...idsOf([page]));
    const client = socketClient(here.url, home.admin.token);
    const steps = subscribe<LiveStep>(client, TAIL, { after: page.nextCursor });
    written.push(...(await rename(home, 3)));
    const followed = await steps.until(({ node }) => node?.id === written.at(-1));
    seen.push(...followed.flatMap(({ node }) => (node ? [node.id as string] : [])));
    after = followed.at(-1)!.cursor;
    await client.dispose();
  }
  await allSealed(here.database.admin);
  expect(seen).toEqual(written);
  expect((await ask(home.admin, { after })).nodes).toEqual([]);
});

test('a filter that lets almost nothing through is a few pages of bounded work, each of which gets on', async () => {
  const here = await world();
  const { id: tenantId, admin } = await here.tenant();
  const { db } = here.server.house;
  for (let batch = 0; batch < 3; batch++)
    await record(db, ...Array.from({ length: 4_000 }, () => ({ tenantId, action: 'auth.logout' })));
  const wanted = await rename({ admin }, 1);
  await allSealed(here.database.admin);

  const pages = await pagesOf(admin, { filter: { actions: ['USER_UPDATED'] }, first: 10 });
  expect(pages.map(({ nodes }) => nodes.length)).toEqual([0, 0, 1]);
  expect(idsOf(pages)).toEqual(wanted);
  const places = pages.map(({ nextCursor }) => placeIn(nextCursor));
  const end = (await logOf(here, tenantId)).length;
  // What is looked at comes in portions.
  expect(places).toEqual([5_010, 10_020, end]);
});

test('a cursor of a page, of another log, beyond the end or of nothing is a bad one; so is a size that is none', async () => {
  const here = await world();
  const [{ id, admin }, { admin: foreign }] = [await here.tenant(), await here.tenant('Globex')];
  await allSealed(here.database.admin);
  const { data } = await admin.ask('{ auditLogs { pageInfo { endCursor } } }');
  const own = (await ask(admin, { from: 'END' })).nextCursor;
  const beyond = encodeCursor('feed', id, [String(placeIn(own) + 1)]);
  const theirs = (await ask(foreign)).nextCursor;
  const ofAll = (await ask(await here.root())).nextCursor;
  for (const after of [data.auditLogs.pageInfo.endCursor as string, beyond, theirs, ofAll, '', 'x']) {
    const { errors } = await admin.ask(FEED, { after });
    expect([after, errors]).toMatchObject([after, [{ extensions: { code: 'BAD_CURSOR' } }]]);
  }
  for (const first of [0, -1, 501]) {
    const { errors } = await admin.ask(FEED, { first });
    expect(errors[0]!.extensions['fields']).toEqual({ first: 'must be from 1 to 500' });
  }
});

test('a page costs what a page of auditLogs costs', async () => {
  const here = await world();
  const { admin } = await here.tenant();
  const costly = { code: 'QUERY_TOO_COMPLEX' };
  // One for the page and three for each of its records; 50,000 are allowed, and both are longer than a page may be.
  for (const field of ['auditFeed', 'auditLogs'])
    for (const [first, extensions] of [
      [16_666, { code: 'BAD_USER_INPUT', fields: { first: expect.any(String) as string } }],
      [16_667, costly],
    ] as const) {
      const { errors } = await admin.ask(`{ ${field}(first: ${first}) { edges { node { id } } } }`);
      expect([field, first, errors[0]]).toMatchObject([field, first, { extensions }]);
    }
});

test('a branch manager polls what is about its branches, as it reads and follows', async () => {
  const here = await world();
  const { admin } = await here.tenant();
  const { data } = await admin.do('createBranch', { name: 'North', code: 'N' }, 'branch { id }');
  const manager = await here.user(admin, 'BRANCH_MANAGER');
  await admin.do('setUserBranches', { id: manager.id, branchIds: [data.branch.id as string] });
  await here.user(admin, 'MEMBER');
  await allSealed(here.database.admin);

  const read = await manager.ask('{ auditLogs(first: 500) { nodes { id } } }');
  const ids = (read.data.auditLogs.nodes as { id: string }[]).map(({ id }) => id);
  const polled = idsOf(await pagesOf(manager, { first: 2 }));
  expect(polled.toSorted()).toEqual(ids.toSorted());
  expect(polled.length).toBeLessThan(idsOf(await pagesOf(admin, {})).length);
});

/** To a client a cursor is opaque; here it says how far a page has come. */
function placeIn(cursor: string): number {
  return Number((JSON.parse(Buffer.from(cursor, 'base64url').toString()) as unknown[])[1]);
}
