import {
  buildSchema,
  findBreakingChanges,
  findDangerousChanges,
  type GraphQLArgument,
  type GraphQLInputField,
  type GraphQLNamedType,
  type GraphQLSchema,
  isInputObjectType,
  isInterfaceType,
  isObjectType,
  isRequiredArgument,
} from 'graphql';

/** What changed between two schemas, each change as a sentence that names it. */
export interface SchemaChanges {
  /** Clients written for the old schema fail with the new one. */
  readonly breaking: readonly string[];
  /** Clients go on, but may meet what they do not expect: a new value of an enum, another default. */
  readonly dangerous: readonly string[];
}

/** Compares two schemas, given as SDL. */
export function schemaChanges(before: string, now: string): SchemaChanges {
  const [old, current] = [buildSchema(before), buildSchema(now)];
  return {
    breaking: [
      ...findBreakingChanges(old, current).map(({ description }) => description),
      ...lost(old, current),
    ],
    dangerous: findDangerousChanges(old, current).map(({ description }) => description),
  };
}

/**
 * What could be left out because it had a default, and no longer can. graphql-js does not look at defaults of input fields,
 * and takes a lost default of an argument for merely dangerous.
 */
function lost(old: GraphQLSchema, current: GraphQLSchema): string[] {
  return Object.values(current.getTypeMap()).flatMap((type) => {
    const before = inputsOf(old.getType(type.name));
    return [...inputsOf(type)].flatMap(([name, input]) => {
      const earlier = before.get(name);
      const same = earlier && String(earlier.type) === String(input.type);
      return same && isRequiredArgument(input) && !isRequiredArgument(earlier)
        ? [`${name} lost its default and is required now.`]
        : [];
    });
  });
}

function inputsOf(type: GraphQLNamedType | undefined): Map<string, GraphQLArgument | GraphQLInputField> {
  if (isInputObjectType(type)) {
    return new Map(Object.values(type.getFields()).map((field) => [`${type.name}.${field.name}`, field]));
  }
  if (!isObjectType(type) && !isInterfaceType(type)) return new Map();
  const fields = Object.values(type.getFields());
  return new Map(
    fields.flatMap(({ name, args }) =>
      args.map((arg) => [`${type.name}.${name}(${arg.name}:)`, arg] as const),
    ),
  );
}
