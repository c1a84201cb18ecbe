import {
  assertEnumType,
  buildClientSchema,
  getIntrospectionQuery,
  getNamedType,
  getNullableType,
  type GraphQLArgument,
  type GraphQLField,
  type GraphQLOutputType,
  type GraphQLSchema,
  type IntrospectionQuery,
  isAbstractType,
  isLeafType,
  isListType,
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
    .filter(({ type }) => levels > 1 || isLeafType(getNamedType(type)))
    .map(({ name, args, type }) => `${name}${given(args)} ${selectionOf(schema, type, levels - 1)}`.trim());
}

/** What has to be given, which can only be a choice: all of it where several may be chosen, else the first. */
function given(args: readonly GraphQLArgument[]): string {
  const values = args.filter(isRequiredArgument).map(({ name, type }) => {
    const choices = assertEnumType(getNamedType(type))
      .getValues()
      .map((value) => value.name);
    return `${name}: ${isListType(getNullableType(type)) ? `[${choices.join(', ')}]` : choices[0]}`;
  });
  return values.length > 0 ? `(${values.join(', ')})` : '';
}
