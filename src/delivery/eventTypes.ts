/** What events of other applications look like. */
import { isDeepStrictEqual } from 'node:util';

import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv';
import { and, asc, desc, eq } from 'drizzle-orm';
import { LRUCache } from 'lru-cache';
import { z } from 'zod';

import type { Deed, Fields } from '../audit/act.ts';
import { entity } from '../audit/entity.ts';
import type { EventType, EventTypeResolvers, QueryResolvers } from '../generated/types.ts';
import type { ReadTx } from '../platform/db.ts';
import { idAt, isoOf } from '../platform/ids.ts';
import { checkedInput, line } from '../platform/input.ts';
import { Refusal, refuseUnlessEmpty } from '../platform/refusal.ts';
import { logNamed, namedLog } from '../tenants/tables.ts';
import { userById } from '../users/tables.ts';
import { type EventTypeRow, eventTypes } from './tables.ts';

const SCHEMA_CHARS_MAX = 16_384;
const COMPILED_KEPT = 1_000;
/** A regular expression of one tenant could keep the process from all others for hours. */
const FORBIDDEN = new Set(['pattern', 'patternProperties']);

const registration = z.object({
  name: z
    .string()
    .max(100, 'must have at most 100 characters')
    .regex(
      /^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$/,
      'must be words of a-z, 0-9 and underscore with dots between',
    ),
  description: line(200).nullish(),
});

const EVENT_TYPE = entity<EventTypeRow>()({
  resource: 'EVENT_TYPE',
  columns: {
    tenantId: 'OMIT',
    id: 'OMIT',
    name: 'TRACK',
    version: 'TRACK',
    description: 'TRACK',
    schema: 'TRACK',
    createdBy: 'OMIT',
    createdAt: 'OMIT',
  },
  id: ({ id }) => id,
  tenantId: ({ tenantId }) => tenantId,
  label: (type) => type.name,
});

const registerEventType: Deed<'registerEventType'> = async (act, input) => {
  const { tx, actor, now } = act;
  const { name, description = null } = checkedInput(registration, input);
  const schema: unknown = input.schema;
  const fault = faultOf(schema);
  refuseUnlessEmpty(fault === undefined ? {} : { schema: fault });
  const tenantId = await logNamed(act, input.tenantId);
  const [last] = await tx
    .select()
    .from(eventTypes)
    .where(and(eq(eventTypes.tenantId, tenantId), eq(eventTypes.name, name)))
    .orderBy(desc(eventTypes.version))
    .limit(1);
  if (last && isDeepStrictEqual(last.schema, schema)) throw new Refusal('STATE_UNCHANGED');
  const [eventType] = await tx
    .insert(eventTypes)
    .values({
      tenantId,
      id: idAt(now),
      name,
      version: (last?.version ?? 0) + 1,
      description,
      schema: schema as object,
      createdBy: actor.type === 'USER' ? actor.id : null,
      createdAt: isoOf(now),
    })
    .returning();
  return act.done({ eventType: eventType! }, { of: EVENT_TYPE, after: eventType! });
};

export const deeds = { registerEventType };

export const queries = {
  eventTypes: async (_root, { tenantId }, context) =>
    await context.read(async (scope) => {
      const log = await logNamed(scope, tenantId);
      return await scope.tx
        .select()
        .from(eventTypes)
        .where(eq(eventTypes.tenantId, log))
        .orderBy(asc(eventTypes.name), desc(eventTypes.version));
    }),
} satisfies Partial<QueryResolvers>;

export const types = {
  EventType: {
    tenantId: ({ tenantId }) => namedLog(tenantId),
    createdBy: ({ createdBy }, _args, context) =>
      createdBy === null ? null : context.load(userById, createdBy),
  } satisfies Fields<EventType, EventTypeRow, EventTypeResolvers>,
};

/** Checks data of a type: what is wrong with it by path, or undefined. */
export type Check = (data: unknown) => { readonly path: string; readonly message: string } | undefined;

const compiled = new LRUCache<string, ValidateFunction>({ max: COMPILED_KEPT });

/** The types of a log with those names, each version of them by name and version, and the newest by its name alone. */
export async function checksOf(
  tx: ReadTx,
  tenantId: string,
  names: ReadonlySet<string>,
): Promise<ReadonlyMap<string, { readonly version: number; readonly check: Check }>> {
  const checks = new Map<string, { version: number; check: Check }>();
  for (const name of names) {
    const rows = await tx
      .select()
      .from(eventTypes)
      .where(and(eq(eventTypes.tenantId, tenantId), eq(eventTypes.name, name)))
      .orderBy(asc(eventTypes.version));
    for (const { id, version, schema } of rows) {
      const validate = compiled.get(id) ?? compile(schema);
      compiled.set(id, validate);
      const known = { version, check: checkBy(validate) };
      checks.set(typeName(name, version), known).set(name, known);
    }
  }
  return checks;
}

/** A type in one version. */
export function typeName(name: string, version: number): string {
  return `${name}@${version}`;
}

function checkBy(validate: ValidateFunction): Check {
  return (data) => {
    if (validate(data)) return undefined;
    const [error] = validate.errors as [ErrorObject];
    return { path: error.instancePath.replaceAll('/', '.'), message: error.message ?? 'is not acceptable' };
  };
}

function compile(schema: object): ValidateFunction {
  return new Ajv({ strict: false, validateFormats: false }).compile(schema);
}

/** What is wrong with a schema. */
function faultOf(schema: unknown): string | undefined {
  if (typeof schema !== 'object' || schema === null || Array.isArray(schema)) return 'must be an object';
  if (JSON.stringify(schema).length > SCHEMA_CHARS_MAX)
    return `must have at most ${SCHEMA_CHARS_MAX} characters`;
  const forbidden = keysIn(schema).find((key) => FORBIDDEN.has(key));
  if (forbidden !== undefined) return `must not hold ${forbidden}`;
  try {
    compile(schema);
    return undefined;
  } catch (cause) {
    return `must be a JSON Schema: ${(cause as Error).message}`;
  }
}

function keysIn(value: unknown): string[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, each]) => [
    ...(Array.isArray(value) ? [] : [key]),
    ...keysIn(each),
  ]);
}
