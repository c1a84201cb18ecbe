import { type FieldNode, type GraphQLResolveInfo, Kind, type SelectionSetNode } from 'graphql';

const known = new WeakMap<FieldNode, ReadonlySet<string>>();

/** The names of all fields that are asked for below this one, however deep: what need not be read is seen here. */
export function selectedBelow({ fieldNodes, fragments }: GraphQLResolveInfo): ReadonlySet<string> {
  const names = new Set<string>();
  for (const node of fieldNodes) for (const name of known.get(node) ?? namesOf(node)) names.add(name);
  return names;

  function namesOf(node: FieldNode): ReadonlySet<string> {
    const found = new Set<string>();
    collect(node.selectionSet, found);
    // A document is parsed once and asked for often.
    known.set(node, found);
    return found;
  }

  function collect(selectionSet: SelectionSetNode | undefined, found: Set<string>): void {
    for (const selection of selectionSet?.selections ?? []) {
      if (selection.kind === Kind.FIELD) found.add(selection.name.value);
      const inner = selection.kind === Kind.FRAGMENT_SPREAD ? fragments[selection.name.value] : selection;
      collect(inner?.selectionSet, found);
    }
  }
}
