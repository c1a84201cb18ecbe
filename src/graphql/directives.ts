import { createHash } from 'node:crypto';

import { getDirective, MapperKind, mapSchema } from '@graphql-tools/utils';
import {
  defaultFieldResolver,
  type FragmentDefinitionNode,
  type GraphQLFieldConfig,
  type GraphQLResolveInfo,
  type GraphQLNamedType,
  type GraphQLSchema,
  Kind,
  responsePathAsArray,
  type SelectionSetNode,
} from 'graphql';

import type { Context, Deed, Deeds, InputOf, Mutations } from '../audit/act.ts';
import type { Scope } from '../generated/types.ts';
import { Refusal } from '../platform/refusal.ts';
import { assertMay } from './permission.ts';

type Field = GraphQLFieldConfig<unknown, Context, { input?: unknown }>;

/** The rights to read what is in a log. */
const READS: readonly Scope[] = ['AUDIT_READ', 'SECURITY_READ', 'SECURITY_READ_OWN'];
/** The payload of the mutations that sign in; a request may hold one of them. */
const SIGN_IN_PAYLOAD = 'AuthPayload';

/**
 * Makes @audit and @requires of the SDL real: every mutation is carried out on record, and a refused permission is on record
 * too, because @audit stands outermost. A field without @requires is open to all.
 */
export function withDirectives(schema: GraphQLSchema, deeds: Deeds): GraphQLSchema {
  return mapSchema(schema, {
    [MapperKind.MUTATION_ROOT_FIELD]: (field, name) =>
      audited(schema, field as Field, name as Mutations, deeds),
    [MapperKind.QUERY_ROOT_FIELD]: (field) => permitted(schema, noted(schema, field as Field)),
    [MapperKind.SUBSCRIPTION_ROOT_FIELD]: (field) => permitted(schema, noted(schema, field as Field)),
    [MapperKind.OBJECT_FIELD]: (field) => permitted(schema, field as Field),
  });
}

function audited(schema: GraphQLSchema, field: Field, mutation: Mutations, deeds: Deeds): Field {
  if (!getDirective(schema, field, 'audit')) return field;
  const scope = scopeOf(schema, field);
  const deed = requiring(scope, signingInOnce(schema, deeds[mutation] as Deed<Mutations>));
  // What is open to all proves itself who acts: a client that still sends the token of somebody else must be able to sign in.
  const as = scope ? 'CALLER' : 'NOBODY';
  return {
    ...field,
    resolve: (_root, args, context, info) => {
      const facts = {
        operationName: info.operation.name?.value,
        fieldPath: responsePathAsArray(info.path).join('.'),
        documentHash: documentHash(info),
      };
      // Objects that stand in the document have no prototype; Drizzle takes a value for one of its own by its constructor.
      const input = structuredClone(args.input) as InputOf<Mutations>;
      return context.perform(mutation, deed(info), input, facts, as);
    },
  };
}

/** What reads the log is noted before it is answered. */
function noted(schema: GraphQLSchema, field: Field): Field {
  const scope = scopeOf(schema, field);
  if (!scope || !READS.includes(scope)) return field;
  const { resolve = defaultFieldResolver, subscribe } = field;
  if (subscribe) {
    return {
      ...field,
      subscribe: async (root, args, context, info) => {
        await context.noteRead({ kind: 'STREAM', query: info.fieldName, args });
        return await subscribe(root, args, context, info);
      },
    };
  }
  return {
    ...field,
    resolve: async (root, args, context, info) => {
      await context.noteRead({ kind: 'QUERY', query: info.fieldName, args });
      return await resolve(root, args, context, info);
    },
  };
}

function permitted(schema: GraphQLSchema, field: Field): Field {
  const scope = scopeOf(schema, field);
  const { resolve = defaultFieldResolver, subscribe } = field;
  if (!scope) return field;
  if (subscribe) {
    return {
      ...field,
      subscribe: (root, args, context, info) => {
        context.demand(scope);
        return subscribe(root, args, context, info);
      },
      resolve: (root, args, context, info) => {
        // Asked for over plain HTTP, the field is resolved without having been subscribed to.
        if (root !== undefined) return resolve(root, args, context, info);
        context.demand(scope);
        throw new Refusal('INVALID_INPUT', {
          fields: { [info.fieldName]: 'is a subscription: ask for it over a WebSocket' },
        });
      },
    };
  }
  return {
    ...field,
    resolve: (root, args, context, info) => {
      context.demand(scope);
      return resolve(root, args, context, info);
    },
  };
}

function scopeOf(schema: GraphQLSchema, field: Field): Scope | undefined {
  return getDirective(schema, field, 'requires')?.[0]?.scope as Scope | undefined;
}

/** The deed, refused to those who do not hold the scope. */
function requiring<M extends Mutations>(
  scope: Scope | undefined,
  deed: (info: GraphQLResolveInfo) => Deed<M>,
) {
  return (info: GraphQLResolveInfo): Deed<M> => {
    const inner = deed(info);
    return {
      async prepare(preparation, input) {
        if (scope) assertMay(preparation.actor, scope);
        return 'prepare' in inner ? await inner.prepare(preparation, input) : (act) => inner(act, input);
      },
    };
  };
}

/** The deed, refused where its request signs in more than once: guessing by aliases would cost one request. */
function signingInOnce<M extends Mutations>(schema: GraphQLSchema, deed: Deed<M>) {
  return (info: GraphQLResolveInfo): Deed<M> => {
    const signsIn = signInFields(schema);
    const several =
      signsIn.has(info.fieldName) && countOf(signsIn, info.operation.selectionSet, info.fragments) > 1;
    if (!several) return deed;
    return {
      prepare: () => Promise.reject(new Refusal('ONE_SIGN_IN_A_REQUEST')),
    };
  };
}

function signInFields(schema: GraphQLSchema): ReadonlySet<string> {
  const fields = Object.values(schema.getMutationType()!.getFields());
  return new Set(
    fields
      .filter((field) => (field.type as GraphQLNamedType).name === SIGN_IN_PAYLOAD)
      .map(({ name }) => name),
  );
}

function countOf(
  names: ReadonlySet<string>,
  { selections }: SelectionSetNode,
  fragments: { readonly [name: string]: FragmentDefinitionNode },
): number {
  return selections.reduce((sum, selection) => {
    if (selection.kind === Kind.FIELD) return sum + (names.has(selection.name.value) ? 1 : 0);
    const inner = selection.kind === Kind.FRAGMENT_SPREAD ? fragments[selection.name.value] : selection;
    return sum + (inner ? countOf(names, inner.selectionSet, fragments) : 0);
  }, 0);
}

const documentHashes = new WeakMap<object, string>();

/** SHA-256 of the operation as it was sent, fragments and all. */
function documentHash({ operation }: GraphQLResolveInfo): string | undefined {
  const source = operation.loc?.source;
  if (!source) return undefined;
  const known = documentHashes.get(source);
  if (known) return known;
  const hash = createHash('sha256').update(source.body).digest('hex');
  documentHashes.set(source, hash);
  return hash;
}
