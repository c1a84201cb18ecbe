import type { CodegenConfig } from '@graphql-codegen/cli';
import type { PluginFunction } from '@graphql-codegen/plugin-helpers';
import {
  type ConstDirectiveNode,
  getNamedType,
  type GraphQLEnumType,
  type GraphQLEnumValue,
  type GraphQLField,
  type GraphQLInputField,
  type GraphQLSchema,
  isInputObjectType,
  Kind,
  type StringValueNode,
  type ValueNode,
} from 'graphql';

import { printedSchema } from './client/printedSchema.ts';

const scalars = {
  ID: 'string',
  DateTime: 'string',
  IP: 'string',
  JSON: 'unknown',
  BigInt: { input: 'bigint', output: 'bigint | number' },
};

const shared = {
  strictScalars: true,
  enumsAsTypes: true,
  immutableTypes: true,
  useTypeImports: true,
  // What has a default is there, even in an input.
  avoidOptionals: { defaultValue: true },
  inputMaybeValue: 'T | null | undefined',
  scalars,
};

/**
 * Makes the SDL the only catalogue: the facts of each action, what each mutation is recorded as, and which inputs are
 * sensitive. Refuses an SDL in which a mutation, an action or an input has nothing said about it.
 */
export const catalogue: PluginFunction = (schema) => {
  const mutations = Object.values(schema.getMutationType()?.getFields() ?? {}).map(factsOfMutation);
  const actions = enumValues(schema, 'AuditAction').map((action) => factsOfAction(schema, action, mutations));
  const audited = mutations.filter((mutation) => mutation.actions.length > 0);
  return [
    "import type * as Sdl from './types.ts';",
    `export const AUDIT_CATALOGUE = ${table(actions)} as const satisfies Record<Sdl.AuditAction, object>;`,
    `export const MUTATIONS = ${table(mutations)} as const;`,
    `export interface AuditedMutations {\n${audited.map(typeOfMutation).join('\n')}\n}`,
    '',
  ].join('\n\n');
};

function factsOfMutation(field: GraphQLField<unknown, unknown>) {
  const at = `Mutation.${field.name}`;
  const directives = field.astNode?.directives ?? [];
  const audits = directives.filter((directive) => directive.name.value === 'audit');
  const unaudited = directives.some((directive) => directive.name.value === 'unaudited');
  if (audits.length === 0 && !unaudited) throw new Error(`${at}: add @audit(action:) or @unaudited(reason:)`);
  if (audits.length > 0 && unaudited) throw new Error(`${at}: @audit and @unaudited exclude each other`);

  const [input, ...others] = field.args;
  if (others.length > 0 || (input && input.name !== 'input'))
    throw new Error(`${at}: takes exactly one argument, "input"`);
  const inputType = input && getNamedType(input.type);
  const inputFields = isInputObjectType(inputType) ? Object.values(inputType.getFields()) : [];
  return {
    name: field.name,
    actions: audits.map((directive) => argument(directive, 'action') as string),
    failure: audits.map((directive) => argument(directive, 'failure')).find(Boolean) ?? null,
    sensitive: Object.fromEntries(inputFields.flatMap(sensitivityOf)),
    input: inputType?.name,
    payload: getNamedType(field.type).name,
  };
}

type MutationFacts = ReturnType<typeof factsOfMutation>;

/** Names that give a secret or a person away: such an input must say how it is kept out of the log. */
const TELLING = { SECRET: /password|token|secret|apikey/i, PII: /email|fullname|phone/i };

function sensitivityOf(field: GraphQLInputField): [string, string][] {
  const directive = field.astNode?.directives?.find(({ name }) => name.value === 'sensitive');
  const sensitivity = directive && ((argument(directive, 'as') as string | undefined) ?? 'SECRET');
  for (const [needed, telling] of Object.entries(TELLING)) {
    if (telling.test(field.name) && sensitivity !== needed) {
      throw new Error(`input field ${field.name}: add @sensitive(as: ${needed})`);
    }
  }
  return sensitivity ? [[field.name, sensitivity]] : [];
}

function factsOfAction(schema: GraphQLSchema, action: GraphQLEnumValue, mutations: readonly MutationFacts[]) {
  const at = `AuditAction.${action.name}`;
  const event = action.astNode?.directives?.find(({ name }) => name.value === 'event');
  if (!event) throw new Error(`${at}: add @event(key:, resource:)`);
  const key = argument(event, 'key') as string;
  const category = key.split('.')[0]!.toUpperCase();
  const categories = enumValues(schema, 'AuditCategory').map(({ name }) => name);
  if (!categories.includes(category))
    throw new Error(`${at}: the key "${key}" begins with none of ${categories.join(', ')}`);
  const emitter = argument(event, 'emitter') as string | undefined;
  const emitting = mutations.filter(({ actions, failure }) => [...actions, failure].includes(action.name));
  const emittedBy = [...emitting.map(({ name }) => name), ...(emitter ? [emitter] : [])];
  if (emittedBy.length === 0)
    throw new Error(
      `${at}: nothing emits it; add @audit(action: ${action.name}) to a mutation, or @event(emitter:)`,
    );
  return {
    name: action.name,
    key,
    category,
    resource: argument(event, 'resource'),
    severity: argument(event, 'severity') ?? 'INFO',
    security: argument(event, 'security') ?? false,
    description: action.description ?? '',
    emittedBy,
  };
}

function typeOfMutation({ name, actions, input, payload }: MutationFacts): string {
  const action = actions.map((each) => `'${each}'`).join(' | ');
  return `  ${name}: { action: ${action}; input: ${input ? `Sdl.${input}` : 'undefined'}; payload: '${payload}' };`;
}

function table(rows: readonly { name: string }[]): string {
  return JSON.stringify(Object.fromEntries(rows.map(({ name, ...facts }) => [name, facts])), null, 2);
}

function enumValues(schema: GraphQLSchema, name: string): readonly GraphQLEnumValue[] {
  return (schema.getType(name) as GraphQLEnumType).getValues();
}

function argument(directive: ConstDirectiveNode, name: string): string | boolean | undefined {
  const value: ValueNode | undefined = directive.arguments?.find((each) => each.name.value === name)?.value;
  return value?.kind === Kind.BOOLEAN ? value.value : (value as StringValueNode | undefined)?.value;
}

const config: CodegenConfig = {
  schema: 'schema/*.graphql',
  // A plug-in in a TypeScript file of its own cannot be loaded by Node 20.
  pluginLoader: (name) => {
    if (name.endsWith('catalogue')) return { plugin: catalogue };
    if (name.endsWith('printed-schema')) return { plugin: printedSchema };
    return import(name.replace('@graphql-codegen/@', '@'));
  },
  generates: {
    'src/generated/types.ts': {
      plugins: ['typescript', 'typescript-resolvers'],
      config: {
        ...shared,
        contextType: '../audit/act.ts#Context',
        makeResolverTypeCallable: true,
        resolversNonOptionalTypename: false,
        mappers: {
          Tenant: '../tenants/tables.ts#TenantRow',
          TenantSubscription: '../tenants/tables.ts#TenantRow',
          Branch: '../tenants/tables.ts#BranchRow',
          Settings: '../tenants/tables.ts#EffectiveSettings',
          OrganisationSettings: '../tenants/tables.ts#EffectiveSettings',
          SecuritySettings: '../tenants/tables.ts#EffectiveSettings',
          SessionSettings: '../tenants/tables.ts#EffectiveSettings',
          Session: '../auth/tables.ts#SessionRow',
          User: '../users/tables.ts#UserRow',
          AuditLog: '../audit/tables.ts#AuditLogRow',
          SecurityEvent: '../audit/tables.ts#AuditLogRow',
          TenantConnection: '../tenants/tables.ts#TenantPage',
          BranchConnection: '../tenants/tables.ts#BranchPage',
          UserConnection: '../users/tables.ts#UserPage',
          AuditLogConnection: '../audit/query.ts#LogPage',
          SecurityEventConnection: '../audit/query.ts#LogPage',
          UserActivity: '../security/activity.ts#ActivityOfUser',
          TenantActivity: '../security/activity.ts#ActivityOfTenant',
          AuditStatistics: '../audit/statistics.ts#Span',
          AuditExport: '../archive/tables.ts#AuditExportRow',
          Webhook: '../delivery/tables.ts#WebhookRow',
          WebhookDelivery: '../delivery/tables.ts#WebhookDeliveryRow',
          ApiKey: '../delivery/tables.ts#ApiKeyRow',
          EventType: '../delivery/tables.ts#EventTypeRow',
          AuditRetention: '../archive/retention.ts#Retention',
          AuditArchive: '../audit/tables.ts#AuditArchiveRow',
          AuditRead: '../audit/tables.ts#AuditReadRow',
          LegalHold: '../archive/tables.ts#LegalHoldRow',
          AuditCheckpoint: '../audit/checkpoints.ts#CheckpointRow',
          AuditActionInfo: '../security/catalogue.ts#CatalogueEntry',
        },
      },
    },
    'src/generated/catalogue.ts': { plugins: ['catalogue'] },
    'client/schema.graphql': { plugins: ['printed-schema'] },
    'client/src/generated/': {
      preset: 'client',
      documents: 'client/src/operations/*.graphql',
      presetConfig: { fragmentMasking: false },
      config: {
        strictScalars: true,
        immutableTypes: true,
        useTypeImports: true,
        importExtension: '.ts',
        // As JSON brings them.
        scalars: { ...scalars, BigInt: 'number | string' },
      },
    },
  },
};

export default config;
