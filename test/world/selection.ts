import {
  buildClientSchema,
  getIntrospectionQuery,
  getNamedType,
  type GraphQLField,
  type GraphQLOutputType,
  type GraphQLSchema,
  type IntrospectionQuery,
  isAbstractType,
  isLeafType,
  isObjectType,
  isRequiredArgument,
} from 'graphql';

import type { Person } from './server.ts';

/** The schema as a client learns it. */
export async function introspected(person: Pick<Person, 'ask'>): Promise<GraphQLSchema> {
  const { data } = await person.ask(getIntrospectionQuery());
  return buildClientSchema(data as IntrospectionQuery);
}

/** Everything that can be selected of a type, so many levels deep, as operations have it: one for each type that it may be. */
export function selectionsOf(
  schema: GraphQLSchema,
  outputType: GraphQLOutputType,
  levels: number,
): readonly string[] {
  const type = getNamedType(outputType);
  if (!isAbstractType(type)) return [selectionOf(schema, type, levels)];
  return schema
    .getPossibleTypes(type)
    .map((possible) => `{ ... on ${possible.name} ${selectionOf(schema, possible, levels)} }`);
}

/** Everything that can be selected of an object type, so many levels deep: `{ a b { c } }`, or nothing for a scalar. */
export function selectionOf(schema: GraphQLSchema, outputType: GraphQLOutputType, levels: number): string {
  const type = getNamedType(outputType);
  if (!isObjectType(type)) return '';
  return `{ ${['__typename', ...fieldsOf(schema, Object.values(type.getFields()), levels)].join(' ')} }`;
}

function fieldsOf(
  schema: GraphQLSchema,
  fields: readonly GraphQLField<unknown, unknown>[],
  levels: number,
): string[] {
  return fields
    .filter(
      ({ type, args }) => (levels > 1 || isLeafType(getNamedType(type))) && !args.some(isRequiredArgument),
    )
    .map(({ name, type }) => `${name} ${selectionOf(schema, type, levels - 1)}`.trim());
}
