/** What tools such as graphql-cop and CrackQL try, on both transports. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { getIntrospectionQuery, getOperationAST, OperationTypeNode, parse } from 'graphql';
import { expect, test } from 'vitest';

import { post, world } from '../world/server.ts';
import { speechOver, TRANSPORTS } from '../world/transports.ts';

const times = (count: number, text: (at: number) => string) =>
  Array.from({ length: count }, (_, at) => text(at)).join(' ');
const nested = (depth: number) =>
  `{ node(id: "x") { ${'... on User { tenant { '.repeat(depth)} id ${'} }'.repeat(depth)} } }`;
const doubling = (count: number, type: string, field: string) =>
  `${times(count, (at) => `fragment F${at} on ${type} { ...F${at + 1} ...F${at + 1} }`)}
    fragment F${count} on ${type} { ${field} }`;
const page = (inner: string) => `auditLogs(first: 500) { nodes { ${inner} } }`;

const ATTACKS: readonly (readonly [name: string, query: string, code: string, message: RegExp])[] = [
  [
    '101 aliases',
    `{ ${times(101, (at) => `a${at}: __typename`)} }`,
    'QUERY_TOO_COMPLEX',
    /Aliases limit of 30 exceeded, found 101/,
  ],
  [
    '31 root fields',
    `{ ${times(31, () => '__typename')} }`,
    'QUERY_TOO_COMPLEX',
    /Root fields limit of 30 exceeded, found 31/,
  ],
  [
    'root fields by fragments',
    `{ ${times(4, () => '...F')} } fragment F on Query { ${times(10, () => '__typename')} }`,
    'QUERY_TOO_COMPLEX',
    /Root fields limit of 30 exceeded, found 40/,
  ],
  ['a field 500 times', `{ ${times(500, () => '__typename')} }`, 'QUERY_TOO_COMPLEX', /Root fields limit/],
  [
    '50 directives',
    `{ __typename ${times(50, () => '@include(if: true)')} }`,
    'QUERY_TOO_COMPLEX',
    /Directives limit of 10 exceeded, found 50/,
  ],
  ['13 levels', nested(12), 'QUERY_TOO_COMPLEX', /depth limit of 12 exceeded/],
  ['500 levels', nested(240), 'QUERY_TOO_COMPLEX', /limit/],
  [
    'a page of pages',
    `{ securityEvents(first: 500) { nodes { evidence(first: 500) { nodes { id } } } } }`,
    'QUERY_TOO_COMPLEX',
    /may answer with more than the 50000 fields that are allowed/,
  ],
  [
    'pages side by side',
    `{ ${times(20, (at) => `p${at}: ${page('id action createdAt status severity userId')}`)} }`,
    'QUERY_TOO_COMPLEX',
    /more than the 50000 fields that are allowed/,
  ],
  ['100,000 tokens', `{ ${times(100_000, () => 'a')} }`, 'QUERY_TOO_COMPLEX', /more that 2000 tokens/],
  [
    'a chain of 5,000 fragments',
    `{ ...F0 } ${times(5_000, (at) => `fragment F${at} on Query { ...F${at + 1} }`)}`,
    'QUERY_TOO_COMPLEX',
    /more that 2000 tokens/,
  ],
  [
    'root fields by fragments that double forty times',
    `{ ...F0 } ${doubling(40, 'Query', '__typename')}`,
    'QUERY_TOO_COMPLEX',
    /Root fields limit of 30 exceeded, found 1099511627776/,
  ],
  [
    'fields by fragments that double forty times',
    `{ ${page('...F0')} } ${doubling(40, 'AuditLog', 'id')}`,
    'QUERY_TOO_COMPLEX',
    /spread out to more than the 50000 fields/,
  ],
  [
    'a page of pages beside one of negative length',
    `{ ${page('id')} securityEvents(first: -1000000) { nodes { evidence(first: 500) { nodes { id } } } }
      more: securityEvents(first: 500) { nodes { evidence(first: 500) { nodes { id } } } } }`,
    'QUERY_TOO_COMPLEX',
    /more than the 50000 fields that are allowed/,
  ],
  [
    'a ring of fragments',
    '{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }',
    'BAD_USER_INPUT',
    /Cannot spread fragment/,
  ],
  [
    'introspection in circles',
    '{ __schema { types { fields { type { fields { type { fields { type { name } } } } } } } } }',
    'BAD_USER_INPUT',
    /introspection depth/,
  ],
];

test.each(TRANSPORTS)(
  'what would cost too much is refused before it begins, and the error names the limit (%s)',
  async (transport) => {
    const here = await world();
    const { admin } = await here.tenant();
    const { say } = speechOver(transport, here);

    for (const [name, query, code, message] of ATTACKS) {
      const { data, errors } = await say(admin.token, query);
      const told = { name, code: codeOf(errors), message: errors[0]?.message, data: data ?? null };
      expect(errors.length).toBeLessThanOrEqual(5);
      expect(told).toEqual({ name, code, message: expect.stringMatching(message) as string, data: null });
    }
    expect((await say(admin.token, '{ me { id } }')).data.me.id).toBe(admin.id);
  },
);

test.each(TRANSPORTS)('a fault that is repeated is told once (%s)', async (transport) => {
  const here = await world();
  const { say } = speechOver(transport, here);
  for (const query of [`{ __typename ${times(10, () => '@aa')} }`, `{ ${times(29, () => 'nothing')} }`]) {
    const { errors } = await say(undefined, query);
    expect(errors.length).toBeLessThanOrEqual(2);
  }
});

test.each(TRANSPORTS)('many sign-ins in one request are one refusal (%s)', async (transport) => {
  const here = await world();
  const { say } = speechOver(transport, here);
  const login = (at: number) =>
    `a${at}: login(input: { email: "a@b.example", password: "p${at}" }) { expiresAt }`;
  const few = await say(undefined, `mutation { ${times(10, login)} }`);
  expect(few.errors.map(({ extensions }) => extensions['reason'])).toEqual(
    Array.from({ length: 10 }, () => 'ONE_SIGN_IN_A_REQUEST'),
  );
  const many = await say(undefined, `mutation { ${times(100, login)} }`);
  expect(codeOf(many.errors)).toBe('QUERY_TOO_COMPLEX');
});

test.each(TRANSPORTS)(
  'a schema that is not shown is neither introspected nor suggested, but to who may see it (%s)',
  async (transport) => {
    const here = await world({ INTROSPECTION: 'signed-in' });
    const { admin } = await here.tenant();
    const { say } = speechOver(transport, here);
    const typo = '{ auditLgs { totalCount } }';

    const hidden = await say(undefined, getIntrospectionQuery());
    expect(hidden.errors[0]?.message).toMatch(/introspection/i);
    expect((await say(undefined, '{ __type(name: "User") { name } }')).errors[0]?.message).toMatch(
      /introspection/i,
    );
    const told = await say(undefined, typo);
    expect(told.errors[0]?.message).toBe('Cannot query field "auditLgs" on type "Query".');
    expect((await say(admin.token, typo)).errors[0]?.message).toContain('Did you mean "auditLogs"');
    const filtered = 'query ($filter: AuditLogFilter) { auditLogs(filter: $filter) { totalCount } }';
    const almost = { filter: { minSeverity: 'WARNIN' } };
    expect((await say(undefined, filtered, almost)).errors[0]?.message).toMatch(/"Severity" enum\.$/);
    expect((await say(admin.token, filtered, almost)).errors[0]?.message).toContain('Did you mean');
    expect((await say(admin.token, getIntrospectionQuery())).data.__schema.types.length).toBeGreaterThan(50);
    expect((await say(undefined, '{ __typename }')).data.__typename).toBe('Query');
    const open = speechOver(transport, await world());
    expect((await open.say(undefined, typo)).errors[0]?.message).toBe(told.errors[0]?.message);
  },
);

test('in production the schema is for those who have signed in, and INTROSPECTION says otherwise', async () => {
  const { readSettings } = await import('../../src/platform/settings.ts');
  expect(readSettings({}).introspection).toBe('PUBLIC');
  expect(readSettings({ INTROSPECTION: 'off' }).introspection).toBe('OFF');
  expect(() => readSettings({ INTROSPECTION: 'maybe' })).toThrow(
    'INTROSPECTION must be public, signed-in or off',
  );
  const here = await world({ INTROSPECTION: 'off' });
  const { admin } = await here.tenant();
  expect((await admin.ask(getIntrospectionQuery())).errors[0]?.message).toMatch(/introspection/i);
});

test('batches, forms, typeless bodies and mutations by GET are no requests', async () => {
  const { url } = await world();
  const send = (init: RequestInit & { query?: string }) => fetch(`${url}/graphql${init.query ?? ''}`, init);
  const query = '{ __typename }';
  const json = { 'content-type': 'application/json' };
  const batch = JSON.stringify(Array.from({ length: 10 }, () => ({ query })));
  expect((await send({ method: 'POST', headers: json, body: batch })).status).toBe(400);
  for (const type of ['application/x-www-form-urlencoded', 'text/plain', 'multipart/form-data; boundary=x']) {
    const answer = await send({ method: 'POST', headers: { 'content-type': type }, body: `query=${query}` });
    expect([400, 415]).toContain(answer.status);
    expect(await answer.json()).toMatchObject({ errors: [{ extensions: { code: 'BAD_USER_INPUT' } }] });
  }
  const byGet = await send({ query: `?query=${encodeURIComponent('mutation { logout { success } }')}` });
  expect(byGet.status).toBe(405);
  const traced = await post(url, { query }, { 'apollo-federation-include-trace': 'ftv1' });
  const plain = await send({ method: 'POST', headers: json, body: JSON.stringify({ query }) });
  const { extensions } = (await plain.json()) as { extensions: object };
  expect(Object.keys(extensions)).toEqual(['requestId']);
  expect(traced.errors).toEqual([]);
  const page = await fetch(`${url}/graphql`, { headers: { accept: 'text/html' } });
  expect(page.headers.get('content-type')).not.toContain('html');
});

test('what the recipes ask for stays within every limit', async () => {
  const here = await world();
  const root = await here.root();
  const folder = path.resolve(import.meta.dirname, '../../schema/examples');
  for (const file of readdirSync(folder)) {
    const query = readFileSync(path.join(folder, file), 'utf8');
    if (getOperationAST(parse(query))?.operation !== OperationTypeNode.QUERY) continue;
    const { errors } = await root.ask(query, { tenantId: 'x', id: 'x' });
    expect([file, errors.map(({ extensions }) => extensions['code'])]).not.toContain('QUERY_TOO_COMPLEX');
  }
  const { errors } = await root.ask(
    `{ ${page('id action actionKey status severity createdAt actor { name email } resourceName ipAddress requestId tenant { name }')} }`,
  );
  expect(errors).toEqual([]);
});

function codeOf(errors: readonly { readonly extensions: Record<string, unknown> }[]): unknown {
  return errors[0]?.extensions['code'];
}
