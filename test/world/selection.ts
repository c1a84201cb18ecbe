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

/** Everything that can be selected of a type, so many levels deep: `{ a b { c } }`, or nothing for a scalar. */
export function selectionOf(schema: GraphQLSchema, outputType: GraphQLOutputType, levels: number): string {
  const type = getNamedType(outputType);
  if (isLeafType(type)) return '';
  if (isAbstractType(type)) {
    const fragments = schema.getPossibleTypes(type).map((possible) => {
      const fields = fieldsOf(schema, Object.values(possible.getFields()), levels);
      // Fields of the same name and different types do not merge.
      const aliased = fields.map((field) => `${possible.name}_${field.split(' ', 1)[0]}: ${field}`);
      return `... on ${possible.name} { ${aliased.join(' ')} }`;
    });
    return `{ __typename ${fragments.join(' ')} }`;
  }
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
