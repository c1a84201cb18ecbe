import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

import { makeExecutableSchema } from '@graphql-tools/schema';
import { printSchemaWithDirectives } from '@graphql-tools/utils';

const SDL = path.join(import.meta.dirname, '../schema');

/**
 * The contract in one text: what schema/*.graphql say, in their order, with their descriptions and with the directives on
 * each field (who may use it, what it is recorded as), which graphql-js' own printer leaves out.
 */
export function printedSchema(): string {
  const files = readdirSync(SDL).filter((file) => file.endsWith('.graphql'));
  const typeDefs = files.sort().map((file) => readFileSync(path.join(SDL, file), 'utf8'));
  const printed = printSchemaWithDirectives(makeExecutableSchema({ typeDefs }));
  return `# The GraphQL schema of Custos, printed from schema/ by npm run generate.\n\n${printed}\n`;
}
