/**
 * A tenant's log as static resources, for those who may verify: the tiles and checkpoints of https://c2sp.org/tlog-tiles at the
 * address the log is named after, the proof of one record, and the whole as a file.
 */
import { Readable } from 'node:stream';

import type { FastifyInstance, FastifyRequest, RouteShorthandOptions } from 'fastify';

import { confinedTo } from '../audit/act.ts';
import { checkpointOf } from '../audit/checkpoints.ts';
import { exportedLines } from '../audit/exports.ts';
import { leafRecord } from '../audit/personal.ts';
import { type SealedRecord, sealedRecords } from '../audit/sealed.ts';
import type { AuditLogRow } from '../audit/tables.ts';
import { openTiles } from '../audit/trees.ts';
import { actorOf } from '../auth/principal.ts';
import { type House, openContext, type OperationContext } from '../graphql/context.ts';
import type { Scope } from '../generated/types.ts';
import { canonicalRecord } from '../ledger/leaf.ts';
import { HASH_BYTES } from '../ledger/merkle.ts';
import { TILE_WIDTH, tileIndex, widthOfLevel } from '../ledger/tiles.ts';
import { asUuid } from '../platform/ids.ts';
import { Refusal } from '../platform/refusal.ts';
import { proofOf } from '../security/ledger.ts';
import { visibleRecord } from '../security/auditLogs.ts';
import type { TrustedProxies } from './address.ts';
import { bearerToken, requestFacts } from './request.ts';
import { refuse } from './refusal.ts';
import { SENDS_A_FILE } from './sending.ts';

/** What never changes may be kept for ever, but by nobody between: it is not for everybody. */
const IMMUTABLE = 'private, max-age=31536000, immutable';
const BRIEF = 'private, max-age=1';
const TEXT = 'text/plain; charset=utf-8';
const BYTES = 'application/octet-stream';
const LEVEL_MAX = 63;

export interface LedgerOptions {
  readonly house: House;
  readonly trusted: TrustedProxies;
}

interface Resource {
  readonly body: Buffer | string | Readable;
  readonly type: string;
  readonly caching: string;
}

interface Asked {
  readonly context: OperationContext;
  readonly tenantId: string;
  readonly params: Readonly<Record<string, string>>;
  readonly query: Readonly<Record<string, string>>;
}

/** Serves /audit/TENANT/...; the nil UUID is the platform's log. */
export function serveLedger(app: FastifyInstance, { house, trusted }: LedgerOptions): void {
  const { db, services } = house;

  route('/audit/:tenant/checkpoint', async ({ context, tenantId }) => {
    const newest = await context.read(({ tx }) => checkpointOf(tx, tenantId));
    return newest && { body: newest.note, type: TEXT, caching: BRIEF };
  });

  route('/audit/:tenant/checkpoint/:size', async ({ context, tenantId, params }) => {
    const size = wholeNumber(params['size']);
    if (size === undefined) return undefined;
    const covering = await context.read(({ tx }) => checkpointOf(tx, tenantId, BigInt(size)));
    if (covering?.size !== BigInt(size)) return undefined;
    return { body: covering.note, type: TEXT, caching: IMMUTABLE };
  });

  route('/audit/:tenant/tile/entries/*', async ({ context, tenantId, params }) => {
    const tile = tileIn(params['*']!);
    if (!tile) return undefined;
    const from = tile.index * TILE_WIDTH;
    const to = from + tile.width;
    if (to > (await signedSize(context, tenantId))) return undefined;
    const records = await context.read(({ tx }) => sealedRecords(tx, tenantId, from, to));
    if (!records.every(isThere)) return undefined;
    const body = Buffer.concat(records.flatMap(({ row }) => entryOf(canonicalRecord(leafRecord(row)))));
    return { body, type: BYTES, caching: IMMUTABLE };
  });

  route('/audit/:tenant/tile/:level/*', async ({ context, tenantId, params }) => {
    const level = wholeNumber(params['level']);
    const tile = tileIn(params['*']!);
    if (!tile || level === undefined || level > LEVEL_MAX) return undefined;
    const { index, width } = tile;
    const levelWidth = widthOfLevel(level, await signedSize(context, tenantId));
    if (index * TILE_WIDTH + width > levelWidth) return undefined;
    const hashes = await context.read(({ tx }) => openTiles(tx)(tenantId)({ level, index }));
    return { body: hashes.subarray(0, width * HASH_BYTES), type: BYTES, caching: IMMUTABLE };
  });

  const proof = async ({ context, tenantId, params }: Asked) => {
    const id = asUuid(/^(.*)\.tlog-proof$/.exec(params['file']!)?.[1] ?? '');
    const row = id === undefined ? null : await visibleRecord(context, id);
    const found = row?.tenantId === tenantId ? await proofOf(context, row) : null;
    return found && { body: found.file!, type: TEXT, caching: BRIEF };
  };
  // Who reads a record may prove it.
  route('/audit/:tenant/proof/:file', proof, { scope: 'AUDIT_READ' });

  const exported = async ({ context, tenantId, query }: Asked) => {
    const end = await signedSize(context, tenantId);
    if (end === 0) return undefined;
    const unknown = Object.keys(query).find((name) => !['from', 'to'].includes(name));
    if (unknown !== undefined)
      throw new Refusal('INVALID_INPUT', { fields: { [unknown]: 'is none of from and to' } });
    const from = wholeNumber(query['from'] ?? '0');
    const to = wholeNumber(query['to'] ?? String(end));
    if (from === undefined || to === undefined || from > to || to > end)
      throw new Refusal('INVALID_INPUT', { fields: { from: `must be at most to, and to at most ${end}` } });
    const { vault, signer } = services;
    const body = Readable.from(exportedLines({ db, vault, signer, tenantId, from, to }));
    return { body, type: 'application/x-ndjson', caching: BRIEF };
  };
  route('/audit/:tenant/export.ndjson', exported, { scope: 'AUDIT_VERIFY', ...SENDS_A_FILE });

  /** What is not there, or not for the caller, is not found. */
  function route(
    url: string,
    resource: (asked: Asked) => Promise<Resource | null | undefined>,
    { scope, ...options }: { readonly scope: Scope } & RouteShorthandOptions = { scope: 'AUDIT_VERIFY' },
  ) {
    app.get(url, options, async (request, reply) => {
      let context: OperationContext | undefined;
      try {
        context = await openContext(house, {
          request: requestFacts(request.raw, { id: request.id, transport: 'HTTP', trusted }),
          authenticate: () => actorOf(db, services, bearerToken(request.headers.authorization)),
        });
        context.demand(scope);
        const asked = askedOf(request, context);
        if (asked && url.endsWith('.ndjson'))
          await context.noteRead({
            kind: 'FILE',
            query: 'export.ndjson',
            args: { tenantId: asked.tenantId },
          });
        const found = asked && (await resource(asked));
        if (!found) return reply.callNotFound();
        return await reply
          .headers({ vary: 'authorization', 'cache-control': found.caching })
          .type(found.type)
          .send(found.body);
      } catch (cause) {
        return await refuse(request, reply, cause);
      } finally {
        await context?.settle();
      }
    });
  }
}

function askedOf({ params, query }: FastifyRequest, context: OperationContext): Asked | undefined {
  const named = params as Readonly<Record<string, string>>;
  const tenantId = asUuid(named['tenant']!);
  const own = confinedTo(context.actor);
  if (tenantId === undefined || (own !== undefined && own !== tenantId)) return undefined;
  return { context, tenantId, params: named, query: query as Asked['query'] };
}

function signedSize(context: OperationContext, tenantId: string): Promise<number> {
  return context.read(async ({ tx }) => Number((await checkpointOf(tx, tenantId))?.size ?? 0));
}

/** `x001/x234/067` or, of a partial tile, `x001/x234/067.p/8`. */
function tileIn(path: string): { index: number; width: number } | undefined {
  const [, place = '', part] = /^([x\d/]*)(?:\.p\/([1-9]\d{0,2}))?$/.exec(path) ?? [];
  const index = tileIndex(place);
  const width = part === undefined ? TILE_WIDTH : Number(part);
  if (index === undefined || (part !== undefined && width >= TILE_WIDTH)) return undefined;
  return { index, width };
}

function isThere(record: SealedRecord): record is SealedRecord & { row: AuditLogRow } {
  return record.row !== undefined;
}

/** A log entry with its length in front. */
function entryOf(record: string): [Buffer, Buffer] {
  const bytes = Buffer.from(record);
  const length = Buffer.alloc(2);
  length.writeUInt16BE(bytes.length);
  return [length, bytes];
}

function wholeNumber(text: string | undefined): number | undefined {
  return text !== undefined && /^(0|[1-9]\d{0,15})$/.test(text) ? Number(text) : undefined;
}
