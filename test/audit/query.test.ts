import { assert, asyncProperty, constantFrom, integer, sample } from 'fast-check';
import { expect, test } from 'vitest';

import type { AuditLogFilter, OrderDirection } from '../../src/generated/types.ts';
import { idAt, isoOf, openClock } from '../../src/platform/ids.ts';
import { isAskedFor, type LogRow, logFilters, logRows, readLogRows, writeLogRows } from '../world/logRows.ts';
import { allSealed } from '../world/seal.ts';
import { type Person, world } from '../world/server.ts';

const PAGE = `query Page($filter: AuditLogFilter, $first: Int, $after: String, $last: Int, $before: String,
    $direction: OrderDirection!, $counted: Boolean!) {
  auditLogs(filter: $filter, first: $first, after: $after, last: $last, before: $before,
      orderBy: { direction: $direction }) {
    edges { cursor node { id } } nodes { id }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    totalCount @include(if: $counted)
    upToThree: countUpTo(max: 3) @include(if: $counted) { value exact }
    upToDefault: countUpTo @include(if: $counted) { value exact }
  }
}`;

const ASKED = { direction: 'DESC', counted: false };

interface Walk {
  readonly filter?: AuditLogFilter;
  readonly size: number;
  readonly end: 'first' | 'last';
  readonly direction: OrderDirection;
}

test('pages of every size, from either end, in either order, hold the exact list once', async () => {
  const { reader, wanted } = await logOf(24);
  const whole = wanted({});
  expect(whole.length).toBeGreaterThan(24);
  for (let size = 1; size <= whole.length + 1; size++) {
    for (const end of ['first', 'last'] as const) {
      for (const direction of ['ASC', 'DESC'] as const) {
        await expectWalk(reader, { size, end, direction }, whole);
      }
    }
  }
});

test('whatever the filter, a walk finds exactly what it asks for, and the counts are exact', async () => {
  const { reader, root, wanted, filters } = await logOf(160);
  await assert(
    asyncProperty(
      filters,
      integer({ min: 1, max: 60 }),
      constantFrom('first', 'last'),
      constantFrom('ASC', 'DESC'),
      constantFrom('tenant', 'platform'),
      async (filter, size, end, direction, of) => {
        const person = of === 'tenant' ? reader : root;
        await expectWalk(person, { filter, size, end, direction }, wanted(filter, of));
      },
    ),
    { numRuns: 60 },
  );
});

test('a page between two cursors ends at them, and knows that the list goes on beyond', async () => {
  const { reader, wanted } = await logOf(20);
  const ids = wanted({}).toReversed();
  const all = await pageOf(reader, { first: 500, direction: 'DESC' });
  const cursors: string[] = all.edges.map(({ cursor }) => cursor);
  const between = { after: cursors[2]!, before: cursors[8]!, direction: 'DESC' };

  for (const end of ['first', 'last']) {
    const page = await pageOf(reader, { ...between, [end]: 50 });
    expect(page.nodes.map(({ id }) => id)).toEqual(ids.slice(3, 8));
    expect(page.pageInfo).toMatchObject({ hasNextPage: true, hasPreviousPage: true });
  }
  const [two, lastTwo] = [
    await pageOf(reader, { ...between, first: 2 }),
    await pageOf(reader, { ...between, last: 2 }),
  ];
  expect(two.nodes.map(({ id }) => id)).toEqual(ids.slice(3, 5));
  expect(lastTwo.nodes.map(({ id }) => id)).toEqual(ids.slice(6, 8));
});

test('a page has 50 records unless asked otherwise, and at most 500', async () => {
  const { reader, wanted } = await logOf(600);
  const ids = wanted({}).toReversed();
  const count = (page: FoundPage) => page.nodes.map(({ id }) => id);
  expect(count(await pageOf(reader, { direction: 'DESC' }))).toEqual(ids.slice(0, 50));
  expect(count(await pageOf(reader, { direction: 'ASC' }))).toEqual(ids.toReversed().slice(0, 50));
  expect(count(await pageOf(reader, { first: 500, direction: 'DESC' }))).toEqual(ids.slice(0, 500));
  expect(count(await pageOf(reader, { last: 500, direction: 'DESC' }))).toEqual(ids.slice(-500));
});

test('a text is looked for in one tenant and at most 31 days, else the refusal says so', async () => {
  const { reader, root, wanted, tenantId } = await logOf(60);
  const from = (days: number) => isoOf(openClock().now() - BigInt(days) * 86_400_000_000n);
  const asked: AuditLogFilter = { text: 'STRA', createdAt: { from: from(30) } };
  const page: FoundPage = await pageOf(reader, { filter: asked, first: 500, direction: 'ASC' });
  expect(page.nodes.map(({ id }) => id)).toEqual(wanted(asked));
  expect(page.nodes.length).toBeGreaterThan(0);
  expect((await root.ask(PAGE, { filter: { ...asked, tenantId }, ...ASKED })).errors).toEqual([]);

  const refused: [Person, AuditLogFilter][] = [
    [reader, { text: 'a' }],
    [reader, { text: 'a', createdAt: { from: from(32) } }],
    [reader, { text: 'a', createdAt: { to: from(1) } }],
    [reader, { or: [{ text: 'a', createdAt: { from: from(1) } }, { requestId: 'r' }] }],
    [root, asked],
  ];
  for (const [person, filter] of refused) {
    const { errors } = await person.ask(PAGE, { filter, ...ASKED });
    expect({ filter, fields: errors[0]?.extensions.fields }).toEqual({
      filter,
      fields: { text: expect.stringContaining('one tenant and of at most 31 days') },
    });
  }
});

test('records that arrive during a walk neither repeat nor hide one that was there', async () => {
  const { reader, wanted, add } = await logOf(30);
  const before = wanted({}).toReversed();
  const found: string[] = [];
  for (let after: string | null = null, more = true; more;) {
    const page: FoundPage = await pageOf(reader, { first: 4, after, direction: 'DESC' });
    found.push(...page.nodes.map(({ id }) => id));
    [after, more] = [page.pageInfo.endCursor, page.pageInfo.hasNextPage];
    await add(3);
  }
  expect(found).toEqual(before);
});

/** Walks the whole list: it holds those ids, and each page says exactly where it stands. */
async function expectWalk(reader: Person, walk: Walk, ascending: readonly string[]): Promise<void> {
  const pages = await pagesOf(reader, walk);
  const [more, behind] =
    walk.end === 'first' ? ['hasNextPage', 'hasPreviousPage'] : ['hasPreviousPage', 'hasNextPage'];
  const inOrder = walk.end === 'first' ? pages : pages.toReversed();
  const ids = inOrder.flatMap(({ nodes }) => nodes.map(({ id }) => id));
  expect(ids).toEqual(walk.direction === 'ASC' ? ascending : ascending.toReversed());
  expect(pages).toHaveLength(Math.max(1, Math.ceil(ascending.length / walk.size)));
  expect(pages.map(({ pageInfo }) => pageInfo)).toEqual(
    pages.map(({ edges }, at) => ({
      [more]: at < pages.length - 1,
      [behind]: at > 0,
      startCursor: edges[0]?.cursor ?? null,
      endCursor: edges.at(-1)?.cursor ?? null,
    })),
  );
  expect(pages.map(({ edges }) => edges.map(({ node }) => node))).toEqual(pages.map(({ nodes }) => nodes));
  expect(countsOf(pages[0]!)).toEqual(countsFor(ascending.length));
}

async function pagesOf(reader: Person, { size, end, direction, filter }: Walk): Promise<FoundPage[]> {
  const pages: FoundPage[] = [];
  for (let cursor: string | null = null; ;) {
    const past = end === 'first' ? 'after' : 'before';
    const asked = { filter, [end]: size, [past]: cursor, direction, counted: cursor === null };
    const page: FoundPage = await pageOf(reader, asked);
    pages.push(page);
    const { hasNextPage, hasPreviousPage, startCursor, endCursor } = page.pageInfo;
    if (!(end === 'first' ? hasNextPage : hasPreviousPage)) return pages;
    cursor = end === 'first' ? endCursor : startCursor;
  }
}

const countsOf = ({ totalCount, upToThree, upToDefault }: FoundPage) => ({
  totalCount,
  upToThree,
  upToDefault,
});
const countsFor = (total: number) => ({
  totalCount: total,
  upToThree: { value: Math.min(total, 3), exact: total <= 3 },
  upToDefault: { value: total, exact: true },
});

interface FoundPage {
  readonly edges: readonly { readonly cursor: string; readonly node: { readonly id: string } }[];
  readonly nodes: readonly { readonly id: string }[];
  readonly pageInfo: {
    readonly hasNextPage: boolean;
    readonly hasPreviousPage: boolean;
    readonly startCursor: string | null;
    readonly endCursor: string | null;
  };
  readonly totalCount?: number;
  readonly upToThree?: object;
  readonly upToDefault?: object;
}

async function pageOf(reader: Person, variables: object): Promise<FoundPage> {
  const { data, errors } = await reader.ask(PAGE, { counted: false, ...variables });
  expect(errors).toEqual([]);
  return data.auditLogs as FoundPage;
}

/** A world whose log holds about so many records of a tenant, and half as many of others. */
async function logOf(count: number) {
  const here = await world();
  const { admin } = here.database;
  const [root, own, other] = [await here.root(), await here.tenant(), await here.tenant('Globex')];
  const reader = await here.user(own.admin, 'AUDITOR');
  const tenantIds = [own.id, own.id, own.id, other.id, '00000000-0000-0000-0000-000000000000'];
  const write = async (length: number) => {
    const made = logRows(tenantIds, openClock().now(), { minLength: length, maxLength: length });
    await writeLogRows(admin, sample(made, 1)[0]!);
  };
  await write(Math.ceil((count * 5) / 3) + 10);
  await allSealed(admin);
  const rows = (await readLogRows(admin)).toSorted((one, two) => (one.id < two.id ? -1 : 1));
  const moments = rows.filter((_, at) => at % 7 === 0).map(({ micros }) => micros);
  return {
    reader,
    root,
    tenantId: own.id,
    filters: logFilters([own.id, other.id], moments),
    /** The ids that a filter asks for, ascending. */
    wanted: (filter: AuditLogFilter, of: 'tenant' | 'platform' = 'tenant') =>
      rows
        .filter((row: LogRow) => (of === 'platform' || row.tenantId === own.id) && isAskedFor(row, filter))
        .map(({ id }) => id),
    /** Writes records of this moment. */
    add: async (length: number) => {
      const now = openClock().now();
      const made = sample(logRows([own.id], now, { minLength: length, maxLength: length }), 1)[0]!;
      await writeLogRows(
        admin,
        made.map((row) => ({ ...row, id: idAt(now), micros: now })),
      );
    },
  };
}
