/** What an operation may cost, on every transport. Each error names its limit and what was found. */
import { maxAliasesRule } from '@escape.tech/graphql-armor-max-aliases';
import { maxDepthRule } from '@escape.tech/graphql-armor-max-depth';
import { maxDirectivesRule } from '@escape.tech/graphql-armor-max-directives';
import {
  type DocumentNode,
  getNamedType,
  getNullableType,
  getOperationAST,
  getVariableValues,
  GraphQLError,
  type GraphQLField,
  type GraphQLNamedType,
  type GraphQLSchema,
  isCompositeType,
  isListType,
  Kind,
  NoSchemaIntrospectionCustomRule,
  type SelectionSetNode,
  validate,
  type ValidationContext,
  type ValidationRule,
} from 'graphql';
import { type ComplexityEstimator, getComplexity } from 'graphql-query-complexity';

import type { Actor } from '../audit/act.ts';
import { PAGE_DEFAULT } from '../platform/page.ts';

const TOKENS_MAX = 2_000;
const DEPTH_MAX = 12;
const ALIASES_MAX = 30;
const DIRECTIVES_MAX = 10;
const ROOT_FIELDS_MAX = 30;
/** Fields of one answer: 500 records with all they hold and what they lead to. */
const COST_MAX = 50_000;
/** What a list that is no page is taken to hold. */
const LIST_LENGTH = 10;
const HISTOGRAM_LENGTH = 1_000;
/** The fields that hold what a page is of. */
const ITEMS = ['nodes', 'edges'];
/** More than the items of all fields of a document can add up to: each is at most COST_MAX + 1, and so many there are. */
const BESIDE = 2 ** 32;

/** For `parse`: a document that is longer is not read to its end. */
export const PARSE_OPTIONS = { maxTokens: TOKENS_MAX } as const;

/** Besides the specification's rules. They look at the document alone. */
export const LIMIT_RULES: readonly ValidationRule[] = [
  rejecting(maxDepthRule, { n: DEPTH_MAX, flattenFragments: true }),
  // __typename is what clients alias most, and what attacks alias, too.
  rejecting(maxAliasesRule, { n: ALIASES_MAX, allowList: [] }),
  rejecting(maxDirectivesRule, { n: DIRECTIVES_MAX }),
  rootFieldsRule,
];

/** Who may see the schema through the API. */
export type Introspection = 'PUBLIC' | 'SIGNED_IN' | 'OFF';

/** Whether that actor may see the schema. */
export function maySeeSchema(introspection: Introspection, actor: Actor): boolean {
  return introspection === 'PUBLIC' || (introspection === 'SIGNED_IN' && actor.type !== 'ANONYMOUS');
}

/** Whether errors may tell that actor what it could have meant: a schema can be guessed from that. */
export function mayHearSuggestions(introspection: Introspection, actor: Actor): boolean {
  return actor.type !== 'ANONYMOUS' && maySeeSchema(introspection, actor);
}

/** An operation whose document is valid. */
export interface Operation {
  readonly document: DocumentNode;
  readonly operationName?: string | null | undefined;
  readonly variables?: Readonly<Record<string, unknown>> | null | undefined;
}

/** Throws a GraphQLError for an operation that costs too much, or asks for a schema that the actor may not see. */
export function assertAllowed(
  schema: GraphQLSchema,
  { document, operationName, variables }: Operation,
  schemaIsShown: boolean,
): void {
  const [hidden] = schemaIsShown ? [] : validate(schema, document, [NoSchemaIntrospectionCustomRule]);
  if (hidden) throw hidden;
  const operation = getOperationAST(document, operationName);
  // That none is named so, and what is wrong with the variables, is the executor's to say; nothing is executed then.
  if (!operation) return;
  const { variableDefinitions = [] } = operation;
  if (getVariableValues(schema, variableDefinitions, variables ?? {}).errors) return;
  const cost = costIn(schema, { document, operationName, variables });
  if (cost > COST_MAX)
    throw tooComplex(
      `The operation may answer with more than the ${COST_MAX} fields that are allowed: ask for smaller pages or fewer fields.`,
    );
}

/** The fields an operation may answer with. Throws for one whose fragments, spread out, name more than any answer may have. */
function costIn(schema: GraphQLSchema, { document, operationName, variables }: Operation): number {
  try {
    return getComplexity({
      schema,
      query: document,
      estimators: [costOf],
      variables: { ...variables },
      maxQueryNodes: COST_MAX,
      ...(typeof operationName === 'string' ? { operationName } : {}),
    });
  } catch (cause) {
    if (!(cause instanceof GraphQLError)) throw cause;
    throw tooComplex(
      `The operation's fragments spread out to more than the ${COST_MAX} fields that are allowed.`,
    );
  }
}

/** The error without what it gives away of the schema to those who may not see it. */
export function withoutSuggestions(message: string): string {
  return message.replace(/ Did you mean .*$/s, '');
}

/**
 * A field costs one, and a page or a list what its items cost, times as many as it may hold. What stands beside the items of a
 * page costs that once: its cost is kept above BESIDE until the page is reached, because only that knows how many it holds.
 */
const costOf: ComplexityEstimator = ({ type, field, args, childComplexity }) => {
  if (field.name.startsWith('__')) return 0;
  const of = getNamedType(field.type);
  const isPage = isCompositeType(of) && (isConnection(of) || field.args.some(({ name }) => name === 'first'));
  // A page that is refused for its length makes no other one cheaper.
  const size = Math.max(Number(args['first'] ?? args['last'] ?? PAGE_DEFAULT), 1);
  const [beside, items] = [Math.floor(childComplexity / BESIDE), childComplexity % BESIDE];
  const own = 1 + beside + items * (isPage ? size : lengthOf(field, args));
  // Whatever is above the limit is refused, however far.
  const cost = Math.min(own, COST_MAX + 1);
  return isConnection(type) && !ITEMS.includes(field.name) ? cost * BESIDE : cost;
};

function isConnection(type: GraphQLNamedType): boolean {
  return type.name.endsWith('Connection');
}

/** How many items a field may hold that is no page. The items of a page are counted by the page. */
function lengthOf({ name, type }: GraphQLField<unknown, unknown>, args: Record<string, unknown>): number {
  if (!isListType(getNullableType(type)) || !isCompositeType(getNamedType(type)) || ITEMS.includes(name))
    return 1;
  if (name === 'histogram') return HISTOGRAM_LENGTH;
  // Its values are counted as a list of the usual length already.
  if (name === 'facets')
    return Math.ceil((lengthOfList(args['by']) * Math.max(Number(args['top']), 1)) / LIST_LENGTH);
  return LIST_LENGTH;
}

function lengthOfList(value: unknown): number {
  return Array.isArray(value) ? value.length : 1;
}

/** A rule of GraphQL Armor that reports what it finds as one error of ours. */
function rejecting<Options extends object>(
  rule: (options: Options) => (context: ValidationContext) => object,
  options: Options,
): ValidationRule {
  const reject = (context: ValidationContext | null, { message }: GraphQLError) => {
    context?.reportError(tooComplex(message.replace('Syntax Error: ', '')));
  };
  return rule({ ...options, propagateOnRejection: false, onReject: [reject] });
}

/** Each root field has its own record or its own query. */
function rootFieldsRule(context: ValidationContext) {
  // A fragment is counted once: thirty that spread the next one twice are a billion spreads.
  const counted = new Map<string, number>();
  const countOf = (name: string): number => {
    const known = counted.get(name);
    if (known !== undefined) return known;
    // In a ring, which the specification's rules refuse, it is met again before it is counted.
    counted.set(name, 0);
    const fragment = context.getFragment(name);
    const found = fragment ? countIn(fragment.selectionSet) : 0;
    counted.set(name, found);
    return found;
  };
  const countIn = ({ selections }: SelectionSetNode): number =>
    selections.reduce((sum, selection) => {
      if (selection.kind === Kind.FIELD) return sum + 1;
      if (selection.kind === Kind.INLINE_FRAGMENT) return sum + countIn(selection.selectionSet);
      return sum + countOf(selection.name.value);
    }, 0);
  return {
    OperationDefinition({ selectionSet }: { selectionSet: SelectionSetNode }) {
      const found = countIn(selectionSet);
      if (found > ROOT_FIELDS_MAX)
        context.reportError(tooComplex(`Root fields limit of ${ROOT_FIELDS_MAX} exceeded, found ${found}.`));
    },
  };
}

/** The error for what is larger than allowed; the message names the limit. */
export function tooComplex(message: string): GraphQLError {
  return new GraphQLError(message, { extensions: { code: 'QUERY_TOO_COMPLEX', reason: 'LIMIT_EXCEEDED' } });
}
