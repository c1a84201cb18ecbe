/** Webhooks over the API, with receivers that listen, fail, hang and come back. */
import { expect, test } from 'vitest';

import { assertSigned, OK, receiver } from '../world/receiver.ts';
import { allSigned } from '../world/seal.ts';
import { type Person, world } from '../world/server.ts';
import { until } from '../world/wait.ts';

const DELIVERED_MS = 20_000;

async function stage(input: object = {}) {
  const here = await world();
  const { admin, id: tenantId } = await here.tenant('Acme');
  await allSigned(here.database.admin);
  const there = await receiver();
  const { data, errors } = await admin.do(
    'createWebhook',
    { url: there.url, ...input },
    'webhook { id state } secret',
  );
  expect(errors).toEqual([]);
  const { id } = data.webhook as { id: string };
  const secret = data.secret as string;
  /** Leaves so many records. */
  const work = async (times: number) => {
    for (let time = 1; time <= times; time++)
      await admin.do('updateSettings', { organisation: { displayName: `Acme ${time}` } });
  };
  const read = async () => {
    const answer = await admin.ask(
      `query ($id: ID!) { webhook(id: $id) { state pausedBecause
        progress { nextPosition waiting failedAttempts failingSince nextAttemptAt deliveredAt }
        deliveries(first: 100) { messageId position attempt status error durationMs } } }`,
      { id },
    );
    expect(answer.errors).toEqual([]);
    return answer.data.webhook;
  };
  /** As if it had all been so long ago. */
  const past = async (hours: number) => {
    await here.database.admin`update webhook_cursors set next_attempt_at = now(),
      failing_since = failing_since - ${hours} * interval '1 hour' where webhook_id = ${id}`;
  };
  return { here, admin, tenantId, there, id, secret, work, read, past };
}

async function positions(admin: Person): Promise<number[]> {
  const { data } = await admin.ask('{ auditLogs(first: 500) { nodes { position } } }');
  const nodes = data.auditLogs.nodes as { position: number | null }[];
  return nodes.map(({ position }) => Number(position)).toSorted((one, other) => one - other);
}

const positionsOf = (messages: readonly { body: string }[]) =>
  messages.map(({ body }) => (JSON.parse(body) as { position: number }).position);

test('records come in order, signed, as the API renders them, from when the webhook was made', async () => {
  const { here, admin, there, id, secret, work, read } = await stage();
  await work(5);
  await allSigned(here.database.admin);
  const all = await positions(admin);
  // Its own making is the first of them.
  await until('all have come', () => there.came.length >= 6, DELIVERED_MS);
  expect(positionsOf(there.came)).toEqual(all.slice(-6));
  for (const message of there.came) {
    assertSigned(message, secret);
    const { data } = await admin.ask(`{ auditLog(id: "${message.id}") { rendered(format: NATIVE) } }`);
    expect(message.body).toBe(data.auditLog.rendered);
  }
  expect(() => assertSigned({ ...there.came[0]!, body: '{}' }, secret)).toThrow('No matching signature');
  await until('it says so', async () => Number((await read()).progress.waiting) === 0);
  const { deliveries, progress } = await read();
  expect(deliveries).toHaveLength(6);
  expect(deliveries[0]).toMatchObject({ messageId: there.came[5]!.id, attempt: 1, status: 204, error: null });
  expect(progress).toMatchObject({ failedAttempts: 0, nextAttemptAt: null, deliveredAt: expect.any(String) });
  expect(JSON.stringify(await admin.ask(`{ webhook(id: "${id}") { id url filter } }`))).not.toContain(secret);
});

test(
  'a receiver that answers 500, hangs, is away and comes back gets every record, in order',
  { timeout: 90_000 },
  async () => {
    const { here, admin, there, work, read, past } = await stage();
    there.answer((response) => void response.writeHead(500).end());
    await work(2);
    await until('it has failed twice', async () => (await read()).progress.failedAttempts >= 2, DELIVERED_MS);
    // Each attempt was at the same record: the first.
    expect(new Set(there.came.map(({ id }) => id)).size).toBe(1);
    const { nextAttemptAt, failingSince } = (await read()).progress;
    expect(Date.parse(nextAttemptAt)).toBeGreaterThan(Date.parse(failingSince));

    there.answer(() => {});
    const seen = there.came.length;
    await past(0);
    await until('it hangs', () => there.came.length > seen, DELIVERED_MS);
    await work(2);
    await until('it was given up', async () => (await read()).deliveries[0].error !== null, DELIVERED_MS);
    expect((await read()).deliveries[0]).toMatchObject({ status: null, error: 'no answer within 15 s' });

    await there.close();
    await past(0);
    await until(
      'nobody is there',
      async () => (await read()).deliveries[0].error === 'ECONNREFUSED',
      DELIVERED_MS,
    );
    await work(1);
    const back = await receiver(there.port);
    await past(0);
    await allSigned(here.database.admin);
    await until('all have come', () => back.once().length >= 6, DELIVERED_MS);
    expect(positionsOf(back.came)).toEqual((await positions(admin)).slice(-6));
  },
);

test('only what the filter lets through is delivered, in the format asked for', async () => {
  const { there, admin, work, read } = await stage({
    format: 'CEF',
    filter: { actions: ['BRANCH_CREATED'] },
  });
  await work(2);
  await admin.do('createBranch', { name: 'North', code: 'N' });
  await until('it has come', () => there.came.length > 0, DELIVERED_MS);
  expect(there.came.map(({ body }) => body)).toEqual([
    expect.stringMatching(/^CEF:0\|Custos\|.*branch\.created/),
  ]);
  expect(there.came[0]!.headers['content-type']).toBe('text/plain; charset=utf-8');
  await until(
    'the others are passed',
    async () => Number((await read()).progress.waiting) === 0,
    DELIVERED_MS,
  );
});

test('it is paused when it has failed for a day, on record, and goes on from there when it is resumed', async () => {
  const { here, admin, there, id, work, read, past } = await stage();
  there.answer((response) => void response.writeHead(503).end());
  await work(1);
  await until('it has failed', async () => (await read()).progress.failedAttempts >= 1, DELIVERED_MS);
  await past(25);
  await until('it is paused', async () => (await read()).state === 'PAUSED', DELIVERED_MS);
  expect((await read()).pausedBecause).toBe('every attempt has failed for 24 hours, last with 503');
  const events = await admin.ask(
    '{ securityEvents(first: 10) { nodes { action log { resourceId details } } } }',
  );
  expect(events.data.securityEvents.nodes[0]).toMatchObject({
    action: 'WEBHOOK_PAUSED',
    log: { resourceId: id, details: { reason: expect.stringContaining('24 hours') } },
  });
  there.answer(OK);
  const before = there.came.length;
  await work(1);
  expect((await admin.do('resumeWebhook', { id }, 'webhook { state }')).data.webhook.state).toBe('ACTIVE');
  await allSigned(here.database.admin);
  const expected = (await positions(admin)).slice(-5);
  await until('all have come', () => there.came.length >= before + 5, DELIVERED_MS);
  expect(positionsOf(there.came.slice(before))).toEqual(expected);
});

test('410 pauses at once, and Retry-After is waited for', async () => {
  const { there, admin, id, work, read } = await stage();
  there.answer((response) => void response.writeHead(429, { 'retry-after': '600' }).end());
  await work(1);
  await until('it has failed', async () => (await read()).progress.failedAttempts === 1, DELIVERED_MS);
  const { nextAttemptAt, failingSince } = (await read()).progress;
  expect(Date.parse(nextAttemptAt) - Date.parse(failingSince)).toBeGreaterThanOrEqual(599_000);
  there.answer((response) => void response.writeHead(410).end());
  await admin.do('resumeWebhook', { id });
  await until('it is paused', async () => (await read()).state === 'PAUSED', DELIVERED_MS);
});

test('a replay delivers again from a position or a time, under the same ids', async () => {
  const { here, admin, there, id, work } = await stage();
  await work(3);
  await until('all have come', () => there.came.length === 4, DELIVERED_MS);
  const replay = async (from: object) =>
    (await admin.do('replayWebhook', { id, ...from })).errors[0]?.extensions;
  expect(await replay({ fromPosition: 1 })).toBeUndefined();
  await allSigned(here.database.admin);
  const all = await positions(admin);
  await until('all have come again', () => there.once().length === all.length - 1, DELIVERED_MS);
  expect(positionsOf(there.came.slice(4))).toEqual(all.slice(1));
  const before = there.came.length;
  expect(await replay({ from: '2020-01-01T00:00:00Z' })).toBeUndefined();
  await until('the whole log has come', () => there.came.length >= before + all.length + 1, DELIVERED_MS);
  expect(positionsOf(there.came.slice(before))[0]).toBe(0);
  expect(await replay({})).toMatchObject({ reason: 'INVALID_INPUT' });
  expect(await replay({ fromPosition: 10_000 })).toMatchObject({
    fields: { fromPosition: expect.any(String) },
  });
});

test('a test is signed, tells what came back, and is no record', async () => {
  const { there, admin, id, secret } = await stage({ filter: { actions: ['LOGIN'] } });
  const tested = await admin.do('testWebhook', { id }, 'delivery { messageId recordId status error }');
  expect(tested.data.delivery).toMatchObject({ recordId: null, status: 204, error: null });
  assertSigned(there.came[0]!, secret);
  expect(there.came[0]!.id).toMatch(/^test_/);
  await there.close();
  const gone = await admin.do('testWebhook', { id }, 'delivery { status error }');
  expect(gone.data.delivery).toEqual({ status: null, error: 'ECONNREFUSED' });
});

test('a deleted webhook is delivered to no more, and a changed one where it says now', async () => {
  const { there, admin, id, work, read } = await stage();
  const idle = () =>
    until('all is delivered', async () => Number((await read()).progress.waiting) === 0, DELIVERED_MS);
  await until('its making has come', () => there.came.length === 1, DELIVERED_MS);
  await idle();
  const other = await receiver();
  expect((await admin.do('updateWebhook', { id, url: other.url }, 'webhook { url }')).data.webhook.url).toBe(
    other.url,
  );
  await work(1);
  await until('it comes there', () => other.came.length === 2, DELIVERED_MS);
  await idle();
  await admin.do('deleteWebhook', { id });
  await work(2);
  const last = await receiver();
  await admin.do('createWebhook', { url: last.url });
  await until('the next has come', () => last.came.length >= 1, DELIVERED_MS);
  expect([there.came.length, other.came.length]).toEqual([1, 2]);
  expect((await admin.ask(`{ webhook(id: "${id}") { id } webhooks { id } }`)).data.webhook).toBe(null);
});

test('an address that may not be reached is refused with its reason, and a hundred webhooks are enough', async () => {
  const { admin, id, there } = await stage();
  const url = 'https://169.254.169.254/latest';
  for (const [mutation, input] of [
    ['createWebhook', { url }],
    ['updateWebhook', { id, url }],
  ] as const) {
    const { errors } = await admin.do(mutation, input);
    expect(errors[0]!.extensions).toMatchObject({
      reason: 'INVALID_INPUT',
      fields: { url: '169.254.169.254 is no public address: WEBHOOK_ALLOWED_TARGETS may allow it' },
    });
  }
  for (let more = 2; more <= 100; more++) await admin.do('createWebhook', { url: there.url });
  const { errors } = await admin.do('createWebhook', { url: there.url });
  expect(errors[0]!.extensions['reason']).toBe('WEBHOOK_LIMIT_REACHED');
});
