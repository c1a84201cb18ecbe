import { expect } from 'vitest';

import type { AuditResource } from '../../src/generated/types.ts';
import { microsOf } from '../../src/platform/ids.ts';
import type { Answer, Person, World } from './server.ts';

/** An object at a moment, as the API has it. */
export interface State {
  readonly id: string;
  readonly exists: boolean;
  readonly createdAt: string | null;
  readonly isComplete: boolean;
  readonly record: { readonly action: string };
  readonly fields: readonly {
    readonly path: string;
    readonly value: unknown;
    readonly redaction: string | null;
    readonly since: string;
    readonly record: { readonly action: string; readonly createdAt: string };
  }[];
}

/** What became of a field. */
export interface FieldChange {
  readonly path: string;
  readonly before: unknown;
  readonly after: unknown;
  readonly redaction: string | null;
}

/** What an object was at a moment, now unless told; null where it is not to be seen. */
export async function stateOf(
  person: Person,
  resource: AuditResource,
  id: string,
  at?: string,
): Promise<State | null> {
  const { data, errors } = await person.ask(
    `query ($resource: AuditResource!, $id: ID!, $at: DateTime) { resourceAt(resource: $resource, id: $id, at: $at) {
      id at exists createdAt isComplete record { action }
      fields { path value redaction since record { action createdAt } } } }`,
    { resource, id, at },
  );
  expect(errors).toEqual([]);
  return data.resourceAt as State | null;
}

/** What became of an object between two moments. */
export async function diffOf(
  person: Person,
  resource: AuditResource,
  id: string,
  from: string,
  to?: string,
): Promise<readonly FieldChange[]> {
  const { data, errors } = await person.ask(
    `query ($resource: AuditResource!, $id: ID!, $from: DateTime!, $to: DateTime) {
      resourceDiff(resource: $resource, id: $id, from: $from, to: $to) { path before after redaction } }`,
    { resource, id, from, to },
  );
  expect(errors).toEqual([]);
  return data.resourceDiff as FieldChange[];
}

/** The time, by the server's clock. */
export function now({ server }: World): bigint {
  return server.house.services.clock.now();
}

/** When the record of a call was made. */
export function momentOf({ data }: Answer): bigint {
  return microsOf(data.receipts[0].id as string);
}
