/** The ledger over the API: checkpoints, proofs and checks, for those who may verify. */
import { eq } from 'drizzle-orm';

import { confinedTo, type Context, type Fields } from '../audit/act.ts';
import { checkpointOf, type CheckpointRow } from '../audit/checkpoints.ts';
import { consistencyOf, inclusionOf } from '../audit/proofs.ts';
import { positionIn } from '../audit/known.ts';
import { type AuditLogRow, auditVerifications, PLATFORM_TENANT } from '../audit/tables.ts';
import { sizeOfTree } from '../audit/trees.ts';
import { verifySpan } from '../audit/verify.ts';
import type {
  AuditCheckpoint,
  AuditCheckpointResolvers,
  AuditLogResolvers,
  AuditProof,
  QueryResolvers,
} from '../generated/types.ts';
import { openCheckpoint, printVerifierKey } from '../ledger/checkpoint.ts';
import { printProof } from '../ledger/proof.ts';
import { LedgerFault } from '../ledger/walk.ts';
import { Refusal } from '../platform/refusal.ts';

import { tenantNamed } from './reach.ts';

const VERIFIED_MAX = 5_000;

/** As the schema has it, but for the checkpoint, which its own resolvers print. */
type Proof = Omit<AuditProof, '__typename' | 'checkpoint'> & { readonly checkpoint: CheckpointRow | null };

export const queries = {
  auditCheckpoint: async (_root, { tenantId, size }, context) => {
    const log = await logNamed(context, tenantId);
    const covered = size == null ? undefined : indexFrom('size', size);
    return (await context.read(({ tx }) => checkpointOf(tx, log, covered))) ?? null;
  },

  auditConsistencyProof: async (_root, { tenantId, from, to }, context) => {
    const [older, newer] = [indexFrom('from', from), indexFrom('to', to)];
    if (older > newer) throw invalid('from', 'must not be greater than to');
    const log = await logNamed(context, tenantId);
    const hashes = await context.read(({ tx }) => consistencyOf(tx, log, older, newer));
    if (!hashes) throw invalid('to', 'must not be greater than the size of the newest checkpoint');
    return { tenantId: shown(log), from, to, hashes: hashes.map(base64) };
  },

  verifyAuditLog: async (_root, { tenantId, from, to }, context) => {
    const begin = indexFrom('from', from);
    const end = to == null ? begin + BigInt(VERIFIED_MAX) : indexFrom('to', to);
    if (begin > end || end - begin > VERIFIED_MAX)
      throw invalid('to', `must be from ${begin} to ${begin + BigInt(VERIFIED_MAX)}`);
    return await verified(context, await logNamed(context, tenantId), Number(begin), Number(end));
  },

  auditHealth: async (_root, { tenantId }, context) => {
    const log = await logNamed(context, tenantId);
    return await context.read(async ({ tx }) => {
      const size = await sizeOfTree(tx, log);
      const checkpoint = await checkpointOf(tx, log);
      const [walk] = await tx.select().from(auditVerifications).where(eq(auditVerifications.tenantId, log));
      return {
        tenantId: shown(log),
        lastPosition: size === 0 ? null : size - 1,
        sealerLagMs: Math.round(context.sealerLagMs()),
        lastCheckpointAt: checkpoint?.createdAt ?? null,
        verifiedTo: walk?.verifiedTo ?? 0,
        faultAt: walk?.faultAt ?? null,
        jobs: confinedTo(context.actor) === undefined ? await context.services.jobs.health(tx) : null,
      };
    });
  },
} satisfies Partial<QueryResolvers>;

export const types = {
  AuditCheckpoint: {
    tenantId: ({ tenantId }) => shown(tenantId),
    origin: (row, _args, { services }) => services.signer.key(row.tenantId).name,
    rootHash: (row, _args, { services }) =>
      base64(openCheckpoint(row.note, services.signer.key(row.tenantId)).root),
    verifierKey: (row, _args, { services }) => printVerifierKey(services.signer.key(row.tenantId)),
  } satisfies Fields<AuditCheckpoint, CheckpointRow, AuditCheckpointResolvers>,
};

/** Of the type AuditLog; its other fields are in auditLogs.ts. */
export const proof = ((row, { treeSize }, context) =>
  proofOf(
    context,
    row,
    treeSize == null ? undefined : indexFrom('treeSize', treeSize),
  )) satisfies AuditLogResolvers['proof'];

/** The proof for a record in the tree of that size, or of the newest checkpoint; null until one covers it. */
export async function proofOf(context: Context, row: AuditLogRow, size?: bigint): Promise<Proof | null> {
  const position = await positionIn(context, row);
  if (position === null) return null;
  if (size !== undefined && size <= position) throw invalid('treeSize', `must be greater than ${position}`);
  const found = await context.read(({ tx }) => inclusionOf(tx, row, position, size));
  if (!found && size !== undefined)
    throw invalid('treeSize', 'must not be greater than the size of the newest checkpoint');
  if (!found) return null;
  const { index, hashes, checkpoint, record } = found;
  return {
    leafIndex: index,
    treeSize: found.size,
    leafHash: base64(found.leafHash),
    hashes: hashes.map(base64),
    record,
    checkpoint: checkpoint ?? null,
    file: checkpoint ? printProof({ index, hashes, checkpoint: checkpoint.note, record }) : null,
  };
}

async function verified(context: Context, tenantId: string, from: number, to: number) {
  const { vault, signer } = context.services;
  const key = signer.key(tenantId);
  try {
    const found = await context.read(({ tx }) => verifySpan(tx, { tenantId, from, to, key, vault }));
    if (found.to < from) throw invalid('from', `must be at most ${found.to}: so many records are signed`);
    return {
      tenantId: shown(tenantId),
      ok: true,
      from,
      to: found.to,
      checkpoint: found.checkpoint ?? null,
      fault: null,
    };
  } catch (cause) {
    if (!(cause instanceof LedgerFault)) throw cause;
    const { reason, position, recordId, message } = cause;
    return {
      ok: false,
      from,
      to: position,
      checkpoint: null,
      fault: { reason, position, recordId, message },
    };
  }
}

/** The log that is named; unnamed, the caller's own. */
async function logNamed(context: Context, tenantId: string | null | undefined): Promise<string> {
  return (await tenantNamed(context, tenantId)) ?? PLATFORM_TENANT;
}

function shown(tenantId: string): string | null {
  return tenantId === PLATFORM_TENANT ? null : tenantId;
}

function indexFrom(argument: string, value: bigint): bigint {
  if (value < 0 || value > Number.MAX_SAFE_INTEGER) throw invalid(argument, 'must be from 0 to 2^53 - 1');
  return value;
}

function invalid(argument: string, must: string): Refusal {
  return new Refusal('INVALID_INPUT', { fields: { [argument]: must } });
}

function base64(bytes: Buffer): string {
  return bytes.toString('base64');
}
