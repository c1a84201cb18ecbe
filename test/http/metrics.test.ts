import { expect, test } from 'vitest';

import { openSchema } from '../../src/graphql/schema.ts';
import { post, world } from '../world/server.ts';
import { socketClient, subscribe } from '../world/socket.ts';
import { until } from '../world/wait.ts';

const TOKEN = 'a-token-of-metrics-that-is-long-enough';

test('root fields, mutations and records are counted, by what they are and how they ended', async () => {
  const custos = await world();
  const { url, anybody } = custos;
  const { admin } = await custos.tenant();
  await admin.ask('query Anything { one: me { id } two: me { id } }');
  await anybody.ask('{ me { id } }');
  await anybody.do('login', { email: 'nobody@acme.example', password: 'wrong password' });
  await admin.do('createTenant', { name: 'Mine', subdomain: 'mine' });

  const numbers = await read(url);

  expect(numbers).toMatchObject({
    'custos_graphql_root_fields_total{type="mutation",field="register",code="OK"}': 1,
    'custos_graphql_root_fields_total{type="query",field="me",code="OK"}': 2,
    'custos_graphql_root_fields_total{type="query",field="me",code="UNAUTHENTICATED"}': 1,
    'custos_graphql_root_fields_total{type="mutation",field="login",code="UNAUTHENTICATED"}': 1,
    'custos_graphql_root_fields_total{type="mutation",field="createTenant",code="FORBIDDEN"}': 1,
    'custos_mutations_total{mutation="register",outcome="SUCCESS"}': 1,
    'custos_mutations_total{mutation="login",outcome="INVALID_CREDENTIALS"}': 1,
    'custos_mutations_total{mutation="createTenant",outcome="SCOPE_MISSING"}': 1,
    'custos_records_total{action="TENANT_CREATED",status="SUCCESS"}': 1,
    'custos_records_total{action="TENANT_CREATED",status="FAILURE"}': 1,
    'custos_records_total{action="LOGIN_FAILED",status="FAILURE"}': 1,
    'custos_http_request_duration_seconds_count{method="POST",route="/graphql",status="200"}': 5,
  });
});

test('no label is what a client made up: neither a path, an operation name nor an alias', async () => {
  const { url } = await world();
  await fetch(`${url}/made-up/path?of=mine`);
  await post(url, { query: 'query MadeUpName { madeUpAlias: __typename }' });
  await post(url, { query: '{ madeUpField }' });

  const text = await (await fetch(`${url}/metrics`)).text();

  expect(text).toContain('route="none",status="404"');
  expect(text).not.toMatch(/made.?up/i);
});

test('the sealer, the feed, sockets, connections, passwords and the event loop show', async () => {
  const custos = await world();
  const { url, database } = custos;
  const { admin } = await custos.tenant();
  const [log] = await database.admin`select count(*)::int as records from audit_logs`;
  const client = socketClient(url, admin.token);
  const events = subscribe(client, 'subscription { auditLogAppended { cursor } }');
  await events.next();
  await until('all is sealed', async () => (await read(url))['custos_sealer_position'] === log!['records']);

  const numbers = await read(url);
  expect(numbers).toMatchObject({
    custos_feed_subscribers: 1,
    custos_websocket_connections: 1,
    custos_database_waiting: 0,
    custos_passwords_waiting: 0,
  });
  expect(numbers['custos_sealer_lag_seconds']).toBeLessThan(1);
  expect(numbers['custos_database_connections_open']).toBeGreaterThan(0);
  expect(numbers).toHaveProperty('nodejs_eventloop_lag_p99_seconds');
  expect(numbers).toHaveProperty('process_resident_memory_bytes');

  events.stop();
  await client.dispose();
  await until('nobody is connected', async () => {
    const { custos_feed_subscribers: streams, custos_websocket_connections: sockets } = await read(url);
    return streams === 0 && sockets === 0;
  });
});

test('two servers of one process keep numbers of their own', async () => {
  const custos = await world();
  const { url } = custos;
  const other = await custos.another();
  await post(other.url, { query: '{ me { id } }' });

  const field = 'custos_graphql_root_fields_total{type="query",field="me",code="UNAUTHENTICATED"}';
  expect((await read(other.url))[field]).toBe(1);
  expect((await read(url))[field]).toBeUndefined();
});

test.each(['x-forwarded-for', 'forwarded', 'x-real-ip', 'via'])(
  'without a token this machine may read them, but not a proxy on it that sends %s',
  async (header) => {
    const { url } = await world();

    expect((await fetch(`${url}/metrics`)).status).toBe(200);
    const refused = await fetch(`${url}/metrics`, { headers: { [header]: '203.0.113.7' } });
    expect(refused.status).toBe(403);
    expect(await refused.text()).not.toContain('custos_');
  },
);

test('with METRICS_TOKEN it takes that token and nothing else, from wherever', async () => {
  const { url } = await world({ METRICS_TOKEN: TOKEN });
  const ask = (authorization?: string) =>
    fetch(`${url}/metrics`, {
      headers: { 'x-forwarded-for': '203.0.113.7', ...(authorization ? { authorization } : {}) },
    });

  expect((await ask(`Bearer ${TOKEN}`)).status).toBe(200);
  for (const wrong of [undefined, `Bearer ${TOKEN}x`, 'Bearer x', `Basic ${TOKEN}`]) {
    const refused = await ask(wrong);
    expect([refused.status, refused.headers.get('www-authenticate')]).toEqual([401, 'Bearer']);
  }
});

/** Every number by its name and labels. */
async function read(url: string): Promise<Record<string, number>> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const lines = text.split('\n').filter((line) => line && !line.startsWith('#'));
  return Object.fromEntries(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ')))]),
  );
}

test('the schema that is watched is the schema', async () => {
  const { url } = await world();
  const { data } = await post(url, { query: '{ __schema { mutationType { fields { name } } } }' });
  const names = (data.__schema.mutationType.fields as { name: string }[]).map(({ name }) => name);
  expect(names.toSorted()).toEqual(Object.keys(openSchema().getMutationType()!.getFields()).toSorted());
});
