/**
 * The options of the commands that talk to a running server. What can be filtered by stands in the contract: wrong values are
 * refused before anything is sent.
 */
import { readFileSync } from 'node:fs';

import type { AuditLogFilter } from '@custos/client/operations';
import { type Command, InvalidArgumentError, Option } from 'commander';
import {
  buildASTSchema,
  coerceInputValue,
  getNamedType,
  type GraphQLNamedType,
  type GraphQLInputObjectType,
  isEnumType,
  parse,
} from 'graphql';

/** Where, and as whom. As it stands on the command line, checked. */
export interface ConnectionOptions {
  readonly url: string;
  readonly email?: string;
  readonly passwordStdin?: true;
  readonly tenant?: string;
}

/** Which records. */
export interface FilterOptions {
  readonly filter?: AuditLogFilter;
  readonly action?: AuditLogFilter['actions'];
  readonly category?: AuditLogFilter['categories'];
  readonly status?: AuditLogFilter['statuses'];
  readonly minSeverity?: AuditLogFilter['minSeverity'];
  readonly user?: string;
  readonly resource?: AuditLogFilter['resources'];
  readonly resourceId?: string;
  readonly address?: string;
  readonly request?: string;
  readonly tenantId?: string;
}

export interface TailOptions extends ConnectionOptions, FilterOptions {
  readonly after?: string;
  readonly fromBeginning?: true;
  readonly cursorFile?: string;
  readonly format?: 'table' | 'ndjson';
}

export interface ExportOptions extends ConnectionOptions, FilterOptions {
  readonly format: 'csv' | 'ndjson' | 'parquet';
}

/** Gives a command the options of a connection and of a filter. */
function withOptions(command: Command): Command {
  const contract = readFileSync(new URL('../client/schema.graphql', import.meta.url), 'utf8');
  const schema = buildASTSchema(parse(contract), { assumeValidSDL: true });
  const oneOf = (flags: string, enumeration: string, meaning: string) => {
    return new Option(flags, meaning).choices(namesIn(schema.getType(enumeration)));
  };
  const anyFilter = new Option('--filter <json>', 'an AuditLogFilter, for all that the options cannot say');
  const filterType = schema.getType('AuditLogFilter') as GraphQLInputObjectType;
  return command
    .addOption(
      new Option('--url <url>', 'where GraphQL is served')
        .env('CUSTOS_URL')
        .default('http://localhost:4000/graphql')
        .argParser(webAddress),
    )
    .option('--email <email>', 'whom to sign in; the password is taken from CUSTOS_PASSWORD')
    .option('--password-stdin', 'read the password from standard input')
    .option('--tenant <subdomain>', 'of which tenant, where the e-mail alone is ambiguous')
    .addOption(oneOf('--action <action...>', 'AuditAction', 'only these actions'))
    .addOption(oneOf('--category <category...>', 'AuditCategory', 'only these kinds of action'))
    .addOption(oneOf('--status <status...>', 'AuditStatus', 'only what ended so'))
    .addOption(oneOf('--min-severity <severity>', 'Severity', 'only what is at least this grave'))
    .option('--user <id>', 'only what this user did')
    .addOption(oneOf('--resource <kind...>', 'AuditResource', 'only what is about such objects'))
    .option('--resource-id <id>', 'only what is about this object')
    .option('--address <ip>', 'only what came from this address')
    .option('--request <id>', 'only what this request did')
    .option('--tenant-id <id>', 'only this tenant, for those who see several')
    .addOption(anyFilter.argParser((text) => filterIn(text, filterType)));
}

/** Gives a command the options of `custos tail`. */
export function withTailOptions(command: Command): Command {
  return withOptions(command)
    .option('--cursor-file <file>', 'go on where the last run came to, and keep there how far this one comes')
    .option('--after <cursor>', 'go on after this cursor, unless the file has one')
    .addOption(
      new Option(
        '--from-beginning',
        'without a cursor, begin with the oldest record, not with what comes',
      ).conflicts('after'),
    )
    .addOption(
      new Option('--format <format>', 'default: table on a terminal, else ndjson').choices([
        'table',
        'ndjson',
      ]),
    );
}

/** Gives a command the options of `custos export`. */
export function withExportOptions(command: Command): Command {
  const formats = ['csv', 'ndjson', 'parquet'];
  return withOptions(command).addOption(
    new Option('--format <format>', 'what the file is written as').choices(formats).makeOptionMandatory(),
  );
}

/** All the options that filter, together. */
export function filterOf(options: FilterOptions): AuditLogFilter {
  const { filter, action, category, status, minSeverity, user, resource, resourceId } = options;
  return {
    ...(filter ? { and: [filter] } : {}),
    actions: action,
    categories: category,
    statuses: status,
    minSeverity,
    userId: user,
    resources: resource,
    resourceId,
    ipAddress: options.address,
    requestId: options.request,
    tenantId: options.tenantId,
  };
}

function webAddress(text: string): string {
  if (!URL.canParse(text) || !/^https?:$/.test(new URL(text).protocol))
    throw new InvalidArgumentError('It must be an http or https address.');
  return text;
}

function filterIn(text: string, type: GraphQLInputObjectType): AuditLogFilter {
  let filter: unknown;
  try {
    filter = JSON.parse(text);
  } catch {
    throw new InvalidArgumentError('It must be JSON.');
  }
  const faults: string[] = [];
  coerceInputValue(filter, type, (path, _value, { message }) => {
    const field = path.findLast((key) => typeof key === 'string') ?? '';
    const allowed = namesIn(getNamedType(type.getFields()[field]?.type));
    const choices = allowed.length > 0 ? ` Allowed choices are ${allowed.join(', ')}.` : '';
    faults.push(`${path.length > 0 ? `${path.join('.')}: ` : ''}${message}${choices}`);
  });
  if (faults.length > 0) throw new InvalidArgumentError(faults.join(' '));
  return filter as AuditLogFilter;
}

/** The values of an enumeration. */
function namesIn(type: GraphQLNamedType | undefined): string[] {
  return isEnumType(type) ? type.getValues().map(({ name }) => name) : [];
}
