import { MapperKind, mapSchema } from '@graphql-tools/utils';
import type { GraphQLSchema } from 'graphql';

import type { Act, Context, Deed, Done, InputOf } from '../src/audit/act.ts';
import { tenancyOf } from '../src/audit/record.ts';
import type { House } from '../src/graphql/context.ts';
import { updateUser } from '../src/users/users.ts';

const deed = updateUser as Extract<Deed<'updateUser'>, (...call: never) => unknown>;

/**
 * The schema with an `updateUser` that runs the same deed through the same door, in one transaction with the same tenancy, and
 * leaves no record. Its database must have the guards of `users` disabled. What is left out: composing, hashing and inserting
 * the record, sealing its personal values, both triggers, and the sealer, which finds nothing.
 */
export function withoutRecord(schema: GraphQLSchema, { db }: House): GraphQLSchema {
  return mapSchema(schema, {
    [MapperKind.MUTATION_ROOT_FIELD]: (field, name) => {
      if (name !== 'updateUser') return field;
      return {
        ...field,
        async resolve(_root: unknown, { input }: { input: InputOf<'updateUser'> }, context: Context) {
          const { actor, request, services } = context;
          if (actor.type !== 'USER' || !actor.scopes.has('PROFILE_WRITE')) throw new Error('Forbidden');
          return await db.withTx(tenancyOf(actor), async (tx) => {
            const act: Act<'updateUser'> = {
              actor,
              request,
              services,
              now: services.clock.now(),
              tx,
              about: () => {},
              attempted: () => {},
              identified: () => {},
              afterwards: () => {},
              // What a Done holds is record.ts's affair; here it is the payload.
              done: (payload) => payload as unknown as Done<'updateUser'>,
              refused: (reason) => {
                throw new Error(reason);
              },
            };
            return { ...(await deed(act, input)), receipts: [] };
          });
        },
      };
    },
  });
}
