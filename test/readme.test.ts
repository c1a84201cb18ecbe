/** What the README says is so, and what it tells a new user to do works. */
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { getOperationAST, OperationTypeNode, parse, validate } from 'graphql';
import { expect, onTestFinished, test } from 'vitest';

import { openSchema } from '../src/graphql/schema.ts';
import { readSettings, SETTINGS_TABLE } from '../src/platform/settings.ts';
import { type Person, type World, world } from './world/server.ts';
import { socketClient, subscribe } from './world/socket.ts';
import { until } from './world/wait.ts';

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
  const block = /(<!-- settings:.*-->\n\n)([^]*?)(\n<!-- \/settings -->)/;
  const table = settingsTable();
  if (process.env['UPDATE_README']) {
    writeFileSync(
      path.join(ROOT, 'README.md'),
      README.replace(block, (_all, begin: string, _old, end: string) => begin + table + end),
    );
  }

  expect(block.exec(read('README.md'))?.[2]).toBe(table);
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
  const schema = openSchema();
  const operations = [...tour(), ...EXAMPLES];

  expect(operations.length).toBeGreaterThan(15);
  for (const text of operations)
    expect({ text, errors: validate(schema, parse(text)) }).toEqual({ text, errors: [] });
});

test(
  'the tour of the README can be followed, to the refusals and the record it promises',
  { timeout: 60_000 },
  async () => {
    const custos = await world(ADMINISTRATOR);
    const root = await custos.root();
    const known = await follow(custos, root, tour());
    expect(Object.keys(known)).toEqual(['tenantId', 'id', 'token']);
    expect((await custos.signIn('gavin@hooli.example', 'correct horse battery')).errors).toEqual([]);

    const again = await root.ask(operationNamed('ChangeRole'), known);
    expect(again.errors[0]!.extensions).toMatchObject({ code: 'CONFLICT', reason: 'STATE_UNCHANGED' });
    const { admin } = await custos.tenant();
    const forbidden = await admin.ask(operationNamed('CreateTenant'));
    expect(forbidden.errors[0]!.extensions).toMatchObject({ code: 'FORBIDDEN', reason: 'SCOPE_MISSING' });
    const shown = async (person: Person) => {
      const { data } = await person.ask(operationNamed('ReadTheLog'));
      return (data.auditLogs.nodes as Shown[]).map(({ action, failure, changes }) => [
        action,
        failure?.reason,
        ...changes.map(({ path: field, before, after }) => [field, before, after]),
      ]);
    };
    expect(await shown(root)).toEqual(
      expect.arrayContaining([
        ['TENANT_CREATED', 'SCOPE_MISSING'],
        ['USER_ROLE_CHANGED', 'STATE_UNCHANGED'],
        ['USER_ROLE_CHANGED', undefined, ['role', 'MEMBER', 'AUDITOR']],
      ]),
    );
    expect(await shown(admin)).toContainEqual(['TENANT_CREATED', 'SCOPE_MISSING']);
    expect((await shown(admin)).flat()).not.toContain('STATE_UNCHANGED');
  },
);

test('the line that follows the log with curl follows it', async () => {
  const custos = await world();
  const { admin } = await custos.tenant();
  const line = /^curl .*feed\/events.*$/m.exec(README)![0].replace('http://127.0.0.1:4000', custos.url);
  const curl = spawn('sh', ['-c', `exec ${line}`], { env: { ...process.env, TOKEN: admin.token } });
  onTestFinished(() => void curl.kill());
  let told = '';
  curl.stdout.on('data', (chunk) => (told += String(chunk)));
  await until('it tells where it is', () => told.includes('event: progress'));
  expect(told).toMatch(/^id: \S+$/m);
});

test(
  'the examples run, one after the other, with what the first start prints',
  { timeout: 60_000 },
  async () => {
    const custos = await world(ADMINISTRATOR);
    expect(Object.keys(await follow(custos, await custos.root(), EXAMPLES))).toEqual(['tenantId', 'id']);
  },
);

test('the e-mail to sign in with is the one of the first administrator, unless it was configured', () => {
  const { bootstrapAdminEmail } = readSettings({});
  expect(bootstrapAdminEmail).toBe(ADMINISTRATOR.BOOTSTRAP_ADMIN_EMAIL);
  expect(read('schema/examples/01-sign-in.graphql')).toContain(`email: "${bootstrapAdminEmail}"`);
  expect(README).toContain(`sign in as \`${bootstrapAdminEmail}\``);
});

/** What the tour reads of a record. */
interface Shown {
  readonly action: string;
  readonly failure: { readonly reason: string } | null;
  readonly changes: readonly { readonly path: string; readonly before: unknown; readonly after: unknown }[];
}

/** Runs operations in their order, as one who copies what an answer or a mail says into the next variables. Returns those. */
async function follow(
  { url, dataDir }: World,
  person: Person,
  operations: readonly string[],
): Promise<Record<string, string>> {
  const known: Record<string, string> = {};
  for (const text of operations) {
    const { operation, name } = getOperationAST(parse(text))!;
    if (operation === OperationTypeNode.SUBSCRIPTION) {
      await expectFirstStep(url, person, text);
      continue;
    }
    if (text.includes('$token')) known['token'] = await mailedToken(dataDir);
    const answer = await person.ask(text, known);
    expect({ name: name!.value, errors: answer.errors }).toEqual({ name: name!.value, errors: [] });
    const tenantId = answer.data.createTenant?.tenant.id as string | undefined;
    const id = answer.data.createUser?.user.id as string | undefined;
    Object.assign(known, tenantId && { tenantId }, id && { id });
  }
  return known;
}

/** The token in the one mail there is, read as the README tells to. */
async function mailedToken(dataDir: string): Promise<string> {
  const folder = path.join(dataDir, 'mail');
  const mails = () => (existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.eml')) : []);
  await until('the mail is there', () => mails().length > 0);
  const [mail] = mails();
  const text = readFileSync(path.join(folder, mail!), 'utf8')
    .replaceAll(/=\r?\n/g, '')
    .replaceAll('=3D', '=');
  return /token=(\S+)/.exec(text)![1]!;
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

function operationNamed(name: string): string {
  return tour().find((text) => getOperationAST(parse(text))?.name?.value === name)!;
}

/** As the formatter leaves it. */
function settingsTable(): string {
  const rows = SETTINGS_TABLE.map(({ variable, default: standard, meaning }) => [
    `\`${variable}\``,
    IN_WORDS.test(standard) ? standard : `\`${standard}\``,
    meaning,
  ]);
  const head = ['variable', 'default', 'meaning'];
  const widths = head.map((_, at) => Math.max(...[head, ...rows].map((cells) => cells[at]!.length)));
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, at) => cell.padEnd(widths[at]!)).join(' | ')} |\n`;
  return [head, widths.map((width) => '-'.repeat(width)), ...rows].map(line).join('');
}

function read(...way: string[]): string {
  return readFileSync(path.join(ROOT, ...way), 'utf8');
}
