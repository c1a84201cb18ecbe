import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import {
  buildSchema,
  getOperationAST,
  type GraphQLSchema,
  OperationTypeNode,
  parse,
  validate,
} from 'graphql';
import { expect, test } from 'vitest';

import { SETTINGS_TABLE } from '../src/platform/settings.ts';
import { type Person, world } from './world/server.ts';
import { socketClient, subscribe } from './world/socket.ts';

const ROOT = path.resolve(import.meta.dirname, '..');
const README = read('README.md');
const EXAMPLES = readdirSync(path.join(ROOT, 'schema/examples')).map((name) => read('schema/examples', name));
/** A default that is described, or already marked up, and not a value. */
const IN_WORDS = /^(empty|none|generated|one|where|`)/;
/** What the examples leave to be filled in. */
const ADMINISTRATOR = {
  BOOTSTRAP_ADMIN_EMAIL: 'admin@custos.local',
  BOOTSTRAP_ADMIN_PASSWORD: 'the password that was printed at the first start',
};

test('the table of settings says what settings.ts says', () => {
  const [, block] = /<!-- settings.* -->([^]*)<!-- \/settings -->/.exec(README)!;
  const rows = SETTINGS_TABLE.map(({ variable, default: standard, meaning }) => [
    `\`${variable}\``,
    IN_WORDS.test(standard) ? standard : `\`${standard}\``,
    meaning,
  ]);

  // The formatter pads the cells.
  const [, , ...written] = block!.trim().split('\n');
  expect(
    written.map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    ),
  ).toEqual(rows);
});

test('every file the README leads to exists', () => {
  const links = [...README.matchAll(/\]\(([^)#]+)\)/g)].map(([, link]) => link!);

  expect(links.length).toBeGreaterThan(20);
  expect(links.filter((link) => !/^https?:/.test(link) && !existsSync(path.join(ROOT, link)))).toEqual([]);
});

test('the commands the README names are scripts, and the three of them that .ci/run runs are all it runs', () => {
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
  const named = [...README.matchAll(/^npm (?:run )?(\w+)/gm)].map(([, name]) => name!);
  const run = [...read('.ci/run').matchAll(/^npm .*$/gm)].map(([line]) => line);

  expect(named.filter((name) => name !== 'ci' && !(name in scripts))).toEqual([]);
  expect(run).toEqual(['npm ci', 'npm run check', 'npm test']);
});

test('every operation of the README and of the examples is valid', () => {
  const schema = schemaOfFiles();
  const operations = [...tour(), ...EXAMPLES];

  expect(operations.length).toBeGreaterThan(15);
  for (const text of operations)
    expect({ text, errors: validate(schema, parse(text)) }).toEqual({ text, errors: [] });
});

test('the tour of the README can be followed', { timeout: 60_000 }, async () => {
  const custos = await world(ADMINISTRATOR);
  expect(await idsOf(custos.url, await custos.root(), tour())).toEqual(['tenantId', 'id']);
});

test('the examples run, one after the other', { timeout: 60_000 }, async () => {
  const custos = await world(ADMINISTRATOR);
  expect(await idsOf(custos.url, await custos.root(), EXAMPLES)).toEqual(['tenantId', 'id']);
});

/** Runs operations in their order; a variable gets the id that an earlier one has answered. Returns the variables. */
async function idsOf(url: string, person: Person, operations: readonly string[]): Promise<string[]> {
  const known: Record<string, string> = {};
  for (const text of operations) {
    const { operation, name } = getOperationAST(parse(text))!;
    if (operation === OperationTypeNode.SUBSCRIPTION) {
      await expectFirstStep(url, person, text);
      continue;
    }
    const answer = await person.ask(text, known);
    expect({ name: name!.value, errors: answer.errors }).toEqual({ name: name!.value, errors: [] });
    const tenantId = answer.data.createTenant?.tenant.id as string | undefined;
    const id = answer.data.createUser?.user.id as string | undefined;
    Object.assign(known, tenantId && { tenantId }, id && { id });
  }
  return Object.keys(known);
}

/** A quiet stream says how far it has come: that it runs. */
async function expectFirstStep(url: string, person: Person, text: string): Promise<void> {
  const client = socketClient(url, person.token);
  const events = subscribe<{ cursor: string }>(client, text);
  expect((await events.next()).cursor).toEqual(expect.any(String));
  events.stop();
  await client.dispose();
}

function tour(): string[] {
  return [...README.matchAll(/```graphql\n([^]*?)```/g)].map(([, text]) => text!);
}

function schemaOfFiles(): GraphQLSchema {
  const files = readdirSync(path.join(ROOT, 'schema')).filter((name) => name.endsWith('.graphql'));
  const sdl = files.map((name) => read('schema', name)).join('\n');
  return buildSchema(/^type Query/m.test(sdl) ? sdl : `type Query\ntype Mutation\ntype Subscription\n${sdl}`);
}

function read(...way: string[]): string {
  return readFileSync(path.join(ROOT, ...way), 'utf8');
}
