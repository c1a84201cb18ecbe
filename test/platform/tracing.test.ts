import { context, propagation, type TextMapPropagator, trace, TraceFlags } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base';
import { afterAll, beforeEach, expect, test } from 'vitest';

import { openSchema } from '../../src/graphql/schema.ts';
import { PASSWORD, post, world } from '../world/server.ts';
import { socketClient, subscribe } from '../world/socket.ts';
import { until } from '../world/wait.ts';

const TRACE = '0af7651916cd43dd8448eb211c80319c';
const TRACEPARENT = `00-${TRACE}-b7ad6b7169203331-01`;

/** https://www.w3.org/TR/trace-context/, as far as the test sends it: the SDK's own is in a package for operators. */
const traceparent: TextMapPropagator<Record<string, string>> = {
  inject: () => {},
  fields: () => ['traceparent'],
  extract(active, headers) {
    const [, traceId, spanId] = headers['traceparent']?.split('-') ?? [];
    if (!traceId || !spanId) return active;
    return trace.setSpanContext(active, { traceId, spanId, traceFlags: TraceFlags.SAMPLED, isRemote: true });
  },
};

const exporter = new InMemorySpanExporter();
const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
trace.setGlobalTracerProvider(provider);
context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
propagation.setGlobalPropagator(traceparent);

afterAll(() => provider.shutdown());
beforeEach(() => exporter.reset());

test('a mutation is one trace from traceparent on: the operation, what was performed, its transactions', async () => {
  const custos = await world();
  const { url } = custos;
  const { admin } = await custos.tenant();
  exporter.reset();

  const query = 'mutation { updateUser(input: { id: "ID", fullName: "New Name" }) { receipts { id } } }';
  const { data } = await post(
    url,
    { query: query.replace('ID', admin.id) },
    { authorization: `Bearer ${admin.token}`, traceparent: TRACEPARENT },
  );

  const ours = exporter.getFinishedSpans().filter((span) => span.spanContext().traceId === TRACE);
  const operation = named(ours, 'mutation updateUser');
  const performed = named(ours, 'perform updateUser');
  expect(operation.parentSpanContext?.spanId).toBe('b7ad6b7169203331');
  expect(operation.attributes).toEqual({ 'graphql.operation.type': 'mutation' });
  expect(performed.parentSpanContext?.spanId).toBe(operation.spanContext().spanId);
  expect(performed.attributes).toEqual({
    'custos.mutation': 'updateUser',
    'custos.outcome': 'SUCCESS',
    'custos.actions': ['USER_UPDATED'],
    'custos.records': [data.updateUser.receipts[0].id],
  });
  const inside = ours.filter((span) => span.parentSpanContext?.spanId === performed.spanContext().spanId);
  expect(inside.map(({ name, attributes }) => [name, attributes['custos.transaction']])).toEqual([
    ['transaction', 'read write'],
  ]);
});

test('a refusal says its reason and is no error; a fault of ours is one', async () => {
  const custos = await world();
  const { anybody, server } = custos;
  const { admin } = await custos.tenant();
  await anybody.do('login', { email: 'nobody@acme.example', password: 'wrong password' });
  await admin.do('updateUser', { id: admin.id, fullName: '' });

  const refused = named(exporter.getFinishedSpans(), 'perform login');
  expect(refused.attributes).toMatchObject({
    'custos.outcome': 'INVALID_CREDENTIALS',
    'custos.actions': ['LOGIN_FAILED'],
    'error.type': 'INVALID_CREDENTIALS',
  });
  expect(refused.status.code).toBe(0);

  exporter.reset();
  Object.assign(server.house.services.passwords, { verify: () => Promise.reject(new Error('planted')) });
  await anybody.do('login', { email: admin.email, password: PASSWORD });

  const broken = named(exporter.getFinishedSpans(), 'perform login');
  expect(broken.attributes).toMatchObject({ 'custos.outcome': 'INTERNAL', 'error.type': 'INTERNAL' });
  expect(broken.status).toEqual({ code: 2 });
});

test('no span holds a personal value, a secret or a message', async () => {
  const custos = await world();
  const { anybody, url } = custos;
  const { admin } = await custos.tenant('Personal Ltd');
  await anybody.do('login', { email: 'person@personal.example', password: 'secret-of-a-person' });
  await anybody.do('register', { tenantName: '', subdomain: '', email: 'x', password: 'y', fullName: '' });
  await admin.do('createUser', { email: 'other@personal.example', fullName: 'Person Other', role: 'MEMBER' });
  await post(url, { query: 'query Person { personal }' });

  const spans = exporter.getFinishedSpans();
  expect(spans.length).toBeGreaterThan(10);
  const told = JSON.stringify(
    spans.map(({ name, attributes, events, status }) => [name, attributes, events, status]),
  );
  expect(told).not.toMatch(/person|secret-of|@|Ltd/i);
  expect(told).not.toContain(admin.token);
});

test('the sealer’s batches are traces of their own, and its idle looks and the tail are none', async () => {
  const custos = await world();
  const { url } = custos;
  const { admin } = await custos.tenant();
  const client = socketClient(url, admin.token);
  const events = subscribe(client, 'subscription { auditLogAppended { cursor node { id } } }');
  await events.next();
  exporter.reset();

  await admin.do('updateUser', { id: admin.id, fullName: 'Another Name' });
  await events.next();
  await until('a batch is sealed', () => sealed().length > 0);

  const [batch] = sealed();
  expect(batch!.parentSpanContext).toBeUndefined();
  const children = exporter.getFinishedSpans().filter((span) => isWithin(span, batch!));
  expect(children.map(({ name }) => name)).toContain('transaction');
  const roots = exporter.getFinishedSpans().filter(({ parentSpanContext }) => !parentSpanContext);
  expect(new Set(roots.map(({ name }) => name))).toEqual(new Set(['mutation updateUser', 'seal batch']));
  events.stop();
  await client.dispose();
});

test('on a socket an operation has its span, too', async () => {
  const custos = await world();
  const { url } = custos;
  const { admin } = await custos.tenant();
  exporter.reset();
  const client = socketClient(url, admin.token);
  const events = subscribe(client, 'subscription { auditLogAppended { cursor } }');
  await events.next();

  const begun = named(exporter.getFinishedSpans(), 'subscription auditLogAppended');
  expect(begun.attributes).toEqual({ 'graphql.operation.type': 'subscription' });
  events.stop();
  await client.dispose();
});

test('spans are named after what the schema has', async () => {
  const { anybody } = await world();
  await anybody.ask('query MadeUp { alias: me { id } }');

  const roots = Object.keys(openSchema().getQueryType()!.getFields());
  const names = exporter.getFinishedSpans().map(({ name }) => name);
  expect(names).toContain('query me');
  expect(names.filter((name) => name.startsWith('query ') && !roots.includes(name.slice(6)))).toEqual([]);
});

function named(spans: readonly ReadableSpan[], name: string): ReadableSpan {
  const found = spans.filter((span) => span.name === name);
  expect({ name, found: found.length }).toEqual({ name, found: 1 });
  return found[0]!;
}

function sealed(): ReadableSpan[] {
  return exporter.getFinishedSpans().filter(({ attributes }) => Number(attributes['custos.sealed']) > 0);
}

function isWithin(span: ReadableSpan, parent: ReadableSpan): boolean {
  return span.parentSpanContext?.spanId === parent.spanContext().spanId;
}
