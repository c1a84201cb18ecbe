import {
  Kind,
  parse,
  print,
  type DefinitionNode,
  type DocumentNode,
  type OperationDefinitionNode,
} from 'graphql';

/** One operation to try. */
export interface Recipe {
  readonly id: string;
  /** The first line of the comment above it, else its name in words. */
  readonly title: string;
  /** The rest of that comment. */
  readonly description: string;
  readonly kind: 'query' | 'mutation' | 'subscription';
  /** The comment, the operation, and the fragments of its file. */
  readonly text: string;
  /** JSON with an empty value for each variable that must be given; '' if there is none. */
  readonly variables: string;
}

/** The recipes of one file. */
export interface RecipeFile {
  readonly name: string;
  readonly recipes: readonly Recipe[];
}

/** Reads files of operations, by path, in the order of their names. A file that does not parse is left out. */
export function readRecipes(files: Readonly<Record<string, string>>): RecipeFile[] {
  return Object.keys(files)
    .toSorted()
    .map((path) => readFile(path, files[path] ?? ''))
    .filter(({ recipes }) => recipes.length > 0);
}

function readFile(path: string, text: string): RecipeFile {
  const stem = path.replace(/^.*\//, '').replace(/\.graphql$/, '');
  const name = inWords(stem.replace(/^\d+[-_.]?/, ''));
  const definitions = parsed(text)?.definitions ?? [];
  const fragments = definitions.filter(({ kind }) => kind === Kind.FRAGMENT_DEFINITION).map(print);
  const recipes = definitions.flatMap((definition, index) => {
    if (definition.kind !== Kind.OPERATION_DEFINITION) return [];
    const comment = commentAbove(text, definition, definitions[index - 1]);
    const [title, ...rest] = comment.split('\n').map((line) => line.replace(/^#\s?/, ''));
    const source = text.slice(definition.loc?.start, definition.loc?.end);
    return {
      id: `${stem}/${definition.name?.value ?? index}`,
      title: title?.trim() || inWords(definition.name?.value ?? stem),
      description: rest.join(' ').trim(),
      kind: definition.operation,
      text: [comment && `${comment}\n${source}`, !comment && source, ...fragments]
        .filter(Boolean)
        .join('\n\n'),
      variables: skeleton(definition),
    };
  });
  return { name, recipes };
}

/** The lines of comment that end right above the definition, without the blank lines around them. */
function commentAbove(
  text: string,
  definition: DefinitionNode,
  previous: DefinitionNode | undefined,
): string {
  const lines = text
    .slice(previous?.loc?.end ?? 0, definition.loc?.start)
    .trim()
    .split('\n')
    .map((line) => line.trim());
  return lines.slice(lines.findLastIndex((line) => line === '') + 1).join('\n');
}

function skeleton({ variableDefinitions = [] }: OperationDefinitionNode): string {
  const required = variableDefinitions.filter(
    ({ type, defaultValue }) => type.kind === Kind.NON_NULL_TYPE && !defaultValue,
  );
  if (required.length === 0) return '';
  const values = required.map(({ variable, type }) => [variable.name.value, emptyOf(print(type))] as const);
  return JSON.stringify(Object.fromEntries(values), null, 2);
}

function emptyOf(type: string): unknown {
  if (type.startsWith('[')) return [];
  if (type.endsWith('Input!')) return {};
  return /^(?:Int|Float)!$/.test(type) ? 0 : '';
}

function parsed(text: string): DocumentNode | undefined {
  try {
    return parse(text);
  } catch {
    return undefined;
  }
}

/** `failedLogins`, `FailedLogins` and `failed-logins` are "Failed logins". */
function inWords(name: string): string {
  const words = name.replace(/([a-z\d])([A-Z])/g, '$1 $2').replace(/[-_]+/g, ' ');
  return words.charAt(0).toUpperCase() + words.slice(1).toLowerCase();
}
