import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';

import { printedSchema } from '../../client/printedSchema.ts';
import { schemaChanges } from '../../client/schemaChanges.ts';

const ROOT = path.resolve(import.meta.dirname, '../..');
const SCHEMA = printedSchema();

/** What breaks clients: the text that is replaced, what by, and what is said of it. */
const BREAKING: readonly (readonly [what: string, from: string | RegExp, to: string, said: string])[] = [
  ['a field is gone', 'userAgent: String\n  """\n  Equal', '"""\n  Equal', 'AuditLog.userAgent was removed.'],
  ['a mutation is gone', 'logout: LogoutPayload', 'goodbye: LogoutPayload', 'Mutation.logout was removed.'],
  ['a type is gone', /BoundedCount/g, 'Bounded', 'BoundedCount was removed.'],
  [
    'a field has another type',
    'actionKey: String!',
    'actionKey: ID!',
    'AuditLog.actionKey changed type from String! to ID!.',
  ],
  [
    'a field may be null',
    'actionKey: String!',
    'actionKey: String',
    'AuditLog.actionKey changed type from String! to String.',
  ],
  [
    'a value of an enum is gone',
    'TOKEN_REUSED',
    'TOKEN_USED',
    'TOKEN_REUSED was removed from enum type ErrorReason.',
  ],
  [
    'an input is required',
    'tenant: String\n}',
    'tenant: String!\n}',
    'LoginInput.tenant changed type from String to String!.',
  ],
  [
    'a required input is added',
    'input LoginInput {',
    'input LoginInput {\n  captcha: String!',
    'A required field captcha on input type LoginInput was added.',
  ],
  ['an argument is gone', 'auditLog(id: ID!)', 'auditLog(key: ID!)', 'Query.auditLog arg id was removed.'],
  [
    'an argument has another type',
    'auditLog(id: ID!)',
    'auditLog(id: Int!)',
    'Query.auditLog arg id has changed type from ID! to Int!.',
  ],
  [
    'an argument lost its default',
    'countUpTo(max: Int! = 10000)',
    'countUpTo(max: Int!)',
    'AuditLogConnection.countUpTo(max:) lost its default and is required now.',
  ],
  [
    'an input lost its default',
    'role: Role! = MEMBER',
    'role: Role!',
    'CreateUserInput.role lost its default and is required now.',
  ],
  [
    'a type no longer is a Node',
    'type Tenant implements Node',
    'type Tenant',
    'Tenant no longer implements interface Node.',
  ],
  ['a directive is gone', /@unaudited/g, '@silent', 'unaudited was removed.'],
];

const HARMLESS: readonly (readonly [what: string, from: string, to: string])[] = [
  ['a field is added', 'type BoundedCount {', 'type BoundedCount {\n  more: Boolean'],
  ['an optional input is added', 'input LoginInput {', 'input LoginInput {\n  device: String'],
  ['an input with a default is added', 'input LoginInput {', 'input LoginInput {\n  device: String! = "web"'],
  [
    'an input need not be given any more',
    'email: String! @sensitive(as: PII)',
    'email: String @sensitive(as: PII)',
  ],
  ['a field is never null any more', 'resourceName: String\n', 'resourceName: String!\n'],
  ['a description changed', 'Somebody signed in.', 'A user did.'],
  ['a field is deprecated', 'actionKey: String!', 'actionKey: String! @deprecated(reason: "see action")'],
];

test.each(BREAKING)('it breaks clients that %s, and is named', (_what, from, to, said) => {
  expect(schemaChanges(SCHEMA, changed(from, to)).breaking).toContain(said);
});

test.each(HARMLESS)('it breaks nobody that %s', (_what, from, to) => {
  expect(schemaChanges(SCHEMA, changed(from, to)).breaking).toEqual([]);
});

test('what clients may not expect is listed, but does not fail', () => {
  const added = changed('enum ErrorReason {', 'enum ErrorReason {\n  MOON_FULL');
  expect(schemaChanges(SCHEMA, added)).toEqual({
    breaking: [],
    dangerous: ['MOON_FULL was added to enum type ErrorReason.'],
  });
});

test('the printed schema is what the SDL says, and breaks nothing that was released', () => {
  expect(read('client/schema.graphql')).toBe(SCHEMA);
  expect(schemaChanges(read('client/released.graphql'), SCHEMA).breaking).toEqual([]);
});

test('the check fails with each breaking change by its name, until it is released on purpose', () => {
  const copy = repository();
  expect(copy.check()).toEqual({ status: 0, told: '' });

  copy.edit(
    'schema/audit.graphql',
    /type BoundedCount \{\n  value: Int!/,
    'type BoundedCount {\n  number: Int!',
  );
  copy.edit('schema/auth.graphql', 'logout: LogoutPayload', 'logout(input: LoginInput!): LogoutPayload');
  copy.generate();
  const { status, told } = copy.check();
  expect(status).toBe(1);
  expect(told).toContain('  BoundedCount.value was removed.\n');
  expect(told).toContain('  A required arg input on Mutation.logout was added.\n');
  expect(told).toContain('npm run release:schema');

  expect(copy.check('release').status).toBe(0);
  expect(copy.check()).toEqual({ status: 0, told: '' });
});

test('what was added since the release may go again', () => {
  const copy = repository();
  copy.edit('schema/audit.graphql', 'type BoundedCount {', 'type BoundedCount {\n  draft: Int');
  copy.generate();
  expect(copy.check().status).toBe(0);
  copy.edit('schema/audit.graphql', 'type BoundedCount {\n  draft: Int', 'type BoundedCount {');
  copy.generate();
  expect(copy.check().status).toBe(0);
});

test('the check fails when the printed schema is stale, and says what to run', () => {
  const copy = repository();
  copy.edit('schema/audit.graphql', 'type BoundedCount {', 'type BoundedCount {\n  more: Int');
  const stale = { status: 1, told: expect.stringContaining('run npm run generate') as string };
  expect(copy.check()).toEqual(stale);
  expect(copy.check('release')).toEqual(stale);
});

test('the check fails when the SDL was committed and the schema printed from it was not', () => {
  const copy = repository();
  const git = (...args: string[]) =>
    execFileSync('git', ['-c', 'user.name=t', '-c', 'user.email=t@t.example', ...args], { cwd: copy.root });
  git('init', '--quiet');
  git('add', 'schema', 'client');
  git('commit', '--quiet', '--message', 'all');
  copy.edit('schema/audit.graphql', 'type BoundedCount {', 'type BoundedCount {\n  more: Int');
  copy.generate();
  expect(copy.check().status).toBe(0);
  git('commit', '--quiet', '--message', 'the SDL alone', 'schema');

  // In another checkout `npm ci` prints it again: only git knows.
  expect(copy.check()).toEqual({ status: 1, told: expect.stringContaining('was not committed') as string });
  git('commit', '--quiet', '--all', '--message', 'the rest');
  expect(copy.check().status).toBe(0);
});

function changed(from: string | RegExp, to: string): string {
  const text = SCHEMA.replace(from, to);
  expect(text === SCHEMA, `nothing reads "${String(from)}"`).toBe(false);
  return text;
}

/** A copy of what the check reads, with a schema that was just released. */
function repository() {
  const root = mkdtempSync(path.join(tmpdir(), 'custos-schema-'));
  onTestFinished(() => rmSync(root, { recursive: true, force: true }));
  for (const folder of ['schema', 'client']) mkdirSync(path.join(root, folder));
  cpSync(path.join(ROOT, 'schema'), path.join(root, 'schema'), { recursive: true });
  for (const file of ['printedSchema.ts', 'schemaChanges.ts', 'schemaCheck.ts']) {
    cpSync(path.join(ROOT, 'client', file), path.join(root, 'client', file));
  }
  writeFileSync(path.join(root, 'package.json'), '{ "type": "module" }');
  symlinkSync(path.join(ROOT, 'node_modules'), path.join(root, 'node_modules'));
  const run = (file: string, ...args: string[]) => {
    const tsx = path.join(ROOT, 'node_modules/.bin/tsx');
    const { status, stdout, stderr } = spawnSync(tsx, [file, ...args], { cwd: root, encoding: 'utf8' });
    return { status, told: stdout + stderr };
  };
  const print = path.join(root, 'print.ts');
  const to = path.join(root, 'client/schema.graphql');
  writeFileSync(
    print,
    `import { writeFileSync } from 'node:fs';
     import { printedSchema } from './client/printedSchema.ts';
     writeFileSync(${JSON.stringify(to)}, printedSchema());`,
  );
  const generate = () => expect(run(print)).toEqual({ status: 0, told: '' });
  generate();
  cpSync(to, path.join(root, 'client/released.graphql'));
  return {
    root,
    generate,
    check: (...args: string[]) => run(path.join(root, 'client/schemaCheck.ts'), ...args),
    edit(file: string, from: string | RegExp, by: string) {
      const text = readFileSync(path.join(root, file), 'utf8');
      expect(text.search(from), `nothing in ${file} reads "${String(from)}"`).not.toBe(-1);
      writeFileSync(path.join(root, file), text.replace(from, by));
    },
  };
}

function read(file: string): string {
  return readFileSync(path.join(ROOT, file), 'utf8');
}
