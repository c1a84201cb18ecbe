/**
 * The log for clients without WebSocket, at GET /feed/events: as server-sent events
 * (https://html.spec.whatwg.org/multipage/server-sent-events.html), or page by page as NDJSON. Both are operations of the schema,
 * so what is shown, to whom and in which form is said there alone.
 */
import type { OutgoingHttpHeaders } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { execute, type ExecutionResult, type GraphQLSchema, parse, subscribe } from 'graphql';
import { z } from 'zod';

import { actorOf } from '../auth/principal.ts';
import type { ErrorReason } from '../generated/types.ts';
import { type House, openContext, type OperationContext } from '../graphql/context.ts';
import { checkedInput } from '../platform/input.ts';
import { Refusal } from '../platform/refusal.ts';
import type { TrustedProxies } from './address.ts';
import type { ConnectionLimit } from './connectionLimit.ts';
import { logged, refuse } from './refusal.ts';
import { bearerToken, msLeftOf, requestFacts } from './request.ts';

/**
 * A stream whose reader takes nothing for so long is cut; the log is read no faster than it is taken. Half of it is also how often
 * something is sent: the specification advises fifteen seconds, against proxies that cut what is silent.
 */
const STUCK_MS_MAX = 30_000;
/** How long a client is to wait until it comes again. */
const RETRY_MS = 1_000;
/** As on a WebSocket: the session is over, or may do less than when the stream began. Come again with a new token. */
const CLOSED_FORBIDDEN = 4403;

const RECORD = `id position createdAt schemaVersion action actionKey category severity status failure { code reason message }
  userId actor { type id email name role sessionId } tenantId resource resourceId resourceName details
  changes { path before after redaction } ipAddress userAgent requestId
  context { operationName fieldPath documentHash transport forwardedFor }`;

const FOLLOW = parse(`subscription FeedEvents($after: String, $filter: AuditLogFilter) {
  answer: auditLogAppended(after: $after, filter: $filter) { cursor node { ${RECORD} } } }`);

const PULL =
  parse(`query FeedEvents($after: String, $first: Int, $filter: AuditLogFilter, $from: FeedStart! = BEGINNING) {
  answer: auditFeed(after: $after, first: $first, filter: $filter, from: $from) {
    edges { cursor record: node { ${RECORD} } } nextCursor hasMore } }`);

const filter = z.string().transform((text, check): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    check.addIssue('must be an AuditLogFilter in JSON');
    return z.NEVER;
  }
});
/** Strict: a filter that is misspelt must not let everything through. */
const Followed = z.strictObject({
  format: z.literal('sse').optional(),
  after: z.string().optional(),
  filter: filter.optional(),
});
const Pulled = Followed.extend({
  format: z.literal('ndjson').optional(),
  first: z.coerce.number().optional(),
  from: z.string().optional(),
});

interface Page {
  readonly edges: readonly object[];
  readonly nextCursor: string;
  readonly hasMore: boolean;
}

interface Step {
  readonly cursor: string;
  readonly node: object | null;
}

export interface EventsOptions {
  readonly house: House;
  readonly schema: GraphQLSchema;
  readonly trusted: TrustedProxies;
  readonly limit: ConnectionLimit;
  /** Default 30 s. */
  readonly stuckMsMax?: number | undefined;
}

/** Serves /feed/events. When the application closes, every stream ends at once, to be gone on with elsewhere. */
export function serveEvents(
  app: FastifyInstance,
  { house, schema, trusted, limit, stuckMsMax = STUCK_MS_MAX }: EventsOptions,
): void {
  const { db, services } = house;
  const streams = new Set<() => void>();
  let stopping = false;
  app.addHook('preClose', async () => {
    stopping = true;
    for (const end of streams) end();
  });

  // A HEAD would open a stream, too.
  app.get('/feed/events', { exposeHeadRoute: false }, async (request, reply) => {
    const token = bearerToken(request.headers.authorization);
    void reply.header('cache-control', 'no-store');
    try {
      const context = await openContext(house, {
        request: requestFacts(request.raw, { id: request.id, transport: 'HTTP', trusted }),
        authenticate: () => actorOf(db, services, token),
      });
      if (wantsPage(request)) return await sendPage(request, reply, context);
      // Who has hung up meanwhile will not close a second time.
      if (reply.raw.destroyed) return reply;
      if (!limit.admits(request.raw, reply.raw)) throw new Refusal('BUSY', { retryAfterSeconds: 5 });
      return await sendStream(request, reply, context, token);
    } catch (cause) {
      return reply.sent ? reply : await refuse(request, reply, cause);
    }
  });

  async function sendPage(request: FastifyRequest, reply: FastifyReply, context: OperationContext) {
    const { format: _format, ...variableValues } = checkedInput(Pulled, queryOf(request));
    const result = await execute({ schema, document: PULL, variableValues, contextValue: context });
    await context.settle();
    const { edges, nextCursor, hasMore } = answerOf(result) as Page;
    return await reply
      .type('application/x-ndjson')
      .headers({ 'custos-next-cursor': nextCursor, 'custos-has-more': String(hasMore) })
      .send(edges.map((edge) => `${JSON.stringify(edge)}\n`).join(''));
  }

  async function sendStream(
    request: FastifyRequest,
    reply: FastifyReply,
    context: OperationContext,
    token: string | undefined,
  ) {
    const { raw } = reply;
    const { format: _format, ...variableValues } = checkedInput(Followed, queryOf(request));
    const begun = await subscribe({ schema, document: FOLLOW, variableValues, contextValue: context });
    await context.settle();
    if (!(Symbol.asyncIterator in begun)) throw begun.errors![0]!;
    const steps = begun;
    let because: ErrorReason | undefined;
    const end = () => void steps.return(undefined);
    streams.add(end);
    raw.once('close', () => {
      streams.delete(end);
      end();
    });
    if (stopping || raw.destroyed) end();
    // The first one says whether the cursor is good, while there still can be a status.
    const first = await steps.next();
    if (reply.sent || raw.destroyed) {
      streams.delete(end);
      return reply;
    }

    void reply.hijack();
    raw.writeHead(200, {
      ...(reply.getHeaders() as OutgoingHttpHeaders),
      'content-type': 'text/event-stream',
      // nginx holds answers back otherwise.
      'x-accel-buffering': 'no',
    });
    raw.setTimeout(stuckMsMax, () => raw.destroy());
    const life = setInterval(() => {
      if (!raw.writableNeedDrain && !raw.writableEnded) raw.write(':\n\n');
    }, stuckMsMax / 2);
    const expiry = setTimeout(
      () => {
        because = 'TOKEN_EXPIRED';
        end();
      },
      msLeftOf(services, token!),
    );
    // Who has gone is not told so; who is cut comes again with the last cursor.
    await pipeline(Readable.from(events()), raw).catch(() => {});
    clearInterval(life);
    clearTimeout(expiry);
    // Not by `connection: close` from the start: to some clients a connection that is cut would then be an answer that is complete.
    if (stopping) request.raw.socket.end();
    return reply;

    async function* events() {
      yield `retry: ${RETRY_MS}\n\n`;
      try {
        for (let step = first; step.done !== true; step = await steps.next()) {
          await context.settle();
          const { cursor, node } = answerOf(step.value) as Step;
          yield `id: ${cursor}\n${event(node ? 'record' : 'progress', node ?? {})}`;
        }
      } catch (cause) {
        if (!(cause instanceof Refusal)) throw logged(request, cause);
        because = cause.reason;
      }
      if (because) yield event('end', { code: CLOSED_FORBIDDEN, reason: because });
    }
  }
}

function wantsPage({ headers, query }: FastifyRequest): boolean {
  const { format } = query as { format?: unknown };
  return format === undefined
    ? headers.accept?.includes('application/x-ndjson') === true
    : format === 'ndjson';
}

/** The header is the newer one: a client that connects again by itself sends the address it began with. */
function queryOf({ headers, query }: FastifyRequest): object {
  const last = headers['last-event-id'];
  return { ...(query as object), ...(last ? { after: last } : {}) };
}

function event(name: string, data: object): string {
  return `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;
}

/** What the operation's one field is. */
function answerOf({ data, errors }: ExecutionResult): unknown {
  if (errors) throw errors[0]!;
  return data!['answer'];
}
