import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { buildASTSchema, buildSchema, type GraphQLSchema, isEnumType, isObjectType, parse } from 'graphql';
import { expect, test } from 'vitest';

import { catalogue } from '../../codegen.ts';
import { AUDIT_CATALOGUE, MUTATIONS } from '../../src/generated/catalogue.ts';
import snapshot from './actions.snapshot.json' with { type: 'json' };

const SDL = path.resolve(import.meta.dirname, '../../schema');
const texts = readdirSync(SDL).filter((file) => file.endsWith('.graphql'));
const whole = buildASTSchema(
  parse(texts.map((file) => readFileSync(path.join(SDL, file), 'utf8')).join('\n')),
);

const BASE = `
  directive @event(key: String!, resource: AuditResource!, severity: Severity! = INFO, security: Boolean! = false) on ENUM_VALUE
  directive @audit(action: AuditAction!, failure: AuditAction) repeatable on FIELD_DEFINITION
  directive @unaudited(reason: String!) on FIELD_DEFINITION
  directive @sensitive(as: Sensitivity! = SECRET) on INPUT_FIELD_DEFINITION
  enum Sensitivity { SECRET PII }
  enum AuditResource { USER }
  enum AuditCategory { USER }
  enum Severity { INFO }
  type Query { nothing: Int }
  type Payload { ok: Boolean }
`;

/** What the plug-in says of a small schema. */
async function told(sdl: string): Promise<string> {
  return (await catalogue(buildSchema(BASE + sdl), [], {})) as string;
}

const CREATED = 'enum AuditAction { USER_CREATED @event(key: "user.created", resource: USER) }';
const CREATE = 'createUser(input: Input!): Payload @audit(action: USER_CREATED)';

test('a small schema that says everything is catalogued', async () => {
  const text = await told(
    `${CREATED} input Input { email: String @sensitive(as: PII) } type Mutation { ${CREATE} }`,
  );
  expect(text).toContain('"emittedBy": [\n      "createUser"\n    ]');
  expect(text).toContain('"email": "PII"');
  expect(text).toContain("createUser: { action: 'USER_CREATED'; input: Sdl.Input; payload: 'Payload' };");
});

test.each([
  [
    'a mutation that says nothing of its record',
    `${CREATED} input Input { a: Int } type Mutation { ${CREATE} inviteUser(input: Input!): Payload }`,
    'Mutation.inviteUser: add @audit(action:) or @unaudited(reason:)',
  ],
  [
    'a mutation that is on record and not',
    `${CREATED} input Input { a: Int } type Mutation { ${CREATE} @unaudited(reason: "x") }`,
    'Mutation.createUser: @audit and @unaudited exclude each other',
  ],
  [
    'an action without its facts',
    `enum AuditAction { USER_INVITED } input Input { a: Int } type Mutation { inviteUser(input: Input!): Payload @audit(action: USER_INVITED) }`,
    'AuditAction.USER_INVITED: add @event(key:, resource:)',
  ],
  [
    'an action of no category',
    `enum AuditAction { SOLD @event(key: "shop.sold", resource: USER) } input Input { a: Int } type Mutation { sell(input: Input!): Payload @audit(action: SOLD) }`,
    'AuditAction.SOLD: the key "shop.sold" begins with none of USER',
  ],
  [
    'an action that nothing emits',
    `enum AuditAction { USER_CREATED @event(key: "user.created", resource: USER) USER_INVITED @event(key: "user.invited", resource: USER) } input Input { a: Int } type Mutation { ${CREATE} }`,
    'AuditAction.USER_INVITED: nothing emits it; add @audit(action: USER_INVITED) to a mutation, or @event(emitter:)',
  ],
  [
    'an audited mutation with loose arguments',
    `${CREATED} input Input { a: Int } type Mutation { createUser(input: Input!, id: ID): Payload @audit(action: USER_CREATED) }`,
    'Mutation.createUser: takes exactly one argument, "input"',
  ],
  [
    'a password that would be recorded',
    `${CREATED} input Input { newPassword: String } type Mutation { ${CREATE} }`,
    'input field newPassword: add @sensitive(as: SECRET)',
  ],
  [
    'a person who would be recorded in clear',
    `${CREATED} input Input { email: String @sensitive } type Mutation { ${CREATE} }`,
    'input field email: add @sensitive(as: PII)',
  ],
])('the build stops %s', async (_mistake, sdl, message) => {
  await expect(told(sdl)).rejects.toThrow(message);
});

test('what records hold is append-only: no action is ever removed, renamed, moved to another kind of object or made less grave', () => {
  const current = Object.fromEntries(
    Object.entries(AUDIT_CATALOGUE).map(([action, { key, resource, severity }]) => [
      action,
      { key, resource, severity },
    ]),
  );
  expect(
    current,
    'records hold these keys for ever; and are found by what the actions say; new ones are added to test/contract/actions.snapshot.json',
  ).toEqual(snapshot);
});

test('every mutation is on record, and its payload carries its receipts', () => {
  const payloads = Object.values(MUTATIONS).map(({ payload }) => payload);
  expect(payloads.length).toBeGreaterThan(15);
  for (const payload of payloads) {
    const type = whole.getType(payload);
    const receipts = isObjectType(type) ? type.getFields()['receipts']?.type.toString() : undefined;
    expect(receipts, payload).toBe('[AuditReceipt!]!');
  }
});

test('everything a client can ask for is described', () => {
  expect(undescribed(whole)).toEqual([]);
});

test('only what has to be is open to those who are not signed in', () => {
  const roots = [whole.getQueryType()!, whole.getMutationType()!, whole.getSubscriptionType()!];
  const open = roots.flatMap((root) =>
    Object.values(root.getFields())
      .filter(({ astNode }) => !astNode?.directives?.some(({ name }) => name.value === 'requires'))
      .map(({ name }) => `${root.name}.${name}`),
  );
  expect(open.sort()).toEqual(
    [
      'login',
      'refreshToken',
      'register',
      'forgotPassword',
      'resetPassword',
      'verifyEmail',
      'acceptInvitation',
    ]
      .map((name) => `Mutation.${name}`)
      .sort(),
  );
});

/** Root fields, types and enums without a description; payloads and edges say what they are by their names. */
function undescribed(schema: GraphQLSchema): string[] {
  const own = Object.values(schema.getTypeMap()).filter(
    ({ name, astNode }) => astNode && !name.startsWith('__'),
  );
  const roots = own
    .filter(isObjectType)
    .filter(({ name }) => ['Query', 'Mutation', 'Subscription'].includes(name));
  const fields = roots.flatMap((root) =>
    Object.values(root.getFields()).map((field) => ({ name: `${root.name}.${field.name}`, field })),
  );
  const telling = /Payload$|Connection$|Edge$|Input$|^(Query|Mutation|Subscription)$/;
  return [
    ...fields.filter(({ field }) => !field.description).map(({ name }) => name),
    ...own.filter((type) => !telling.test(type.name) && !type.description).map(({ name }) => name),
    ...own
      .filter(isEnumType)
      .filter(({ name }) =>
        ['AuditAction', 'ErrorCode', 'ErrorReason', 'Role', 'Scope', 'Severity'].includes(name),
      )
      .flatMap((type) =>
        type
          .getValues()
          .filter(({ description }) => !description)
          .map(({ name }) => `${type.name}.${name}`),
      ),
  ];
}
