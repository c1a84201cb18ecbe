/**
 * Where the demo data is played: operations go through the schema, deeds and database that serve clients, at moments that
 * are set. Only the clock is another one, passwords are hashed at the least cost (the next sign-in rehashes them), and mail
 * is read instead of sent.
 */
import { setImmediate as turnOfTheLoop } from 'node:timers/promises';

import type { KeyObject } from 'node:crypto';

import { type DocumentNode, execute, type GraphQLSchema, parse } from 'graphql';

import type { Mutations, RequestFacts, Services } from './audit/act.ts';
import { actorOf } from './auth/principal.ts';
import { seededChance } from './demoChance.ts';
import { type House, openContext } from './graphql/context.ts';
import type { Passwords } from './platform/passwords.ts';
import { openTokens } from './platform/tokens.ts';

/** Somebody who calls. */
export interface Player {
  readonly request: Pick<RequestFacts, 'ipAddress' | 'userAgent'>;
  readonly token?: string | undefined;
}

/** What the demo data wants to know of an answer. */
export interface Payload {
  readonly accessToken?: string;
  readonly refreshToken?: string;
  readonly user?: { readonly id: string; readonly tenantId: string };
  readonly branch?: { readonly id: string };
}

/** How a call ended: with its payload, or with the sentence of a refusal. */
export interface Ending {
  readonly payload: Payload | undefined;
  readonly refused: string | undefined;
}

type Mail = Parameters<Services['mailer']['send']>[0];

export interface Stage {
  /** Sets the time, in microseconds since 1970. */
  at(micros: bigint): void;
  now(): bigint;
  /** Evenly from 0 to 1; the same numbers at every first start. */
  readonly chance: () => number;
  /** Takes the last mail to an address. */
  mailTo(email: string): Mail | undefined;
  /** Carries out a mutation. The selection is what is wanted of its payload. */
  play(mutation: Mutations, input: object | undefined, by: Player, selection?: string): Promise<Ending>;
}

export interface StageOptions {
  readonly house: House;
  readonly schema: GraphQLSchema;
  readonly jwt: KeyObject;
  readonly passwords: Passwords;
  /** Tells the requests of this stage from others' and decides its chances. */
  readonly name: string;
}

/** Opens a stage. */
export function openStage({ house, schema, jwt, passwords, name }: StageOptions): Stage {
  let micros = 0n;
  const clock = { now: () => (micros += 1n) };
  const mailbox = new Map<string, Mail>();
  const services: Services = {
    ...house.services,
    clock,
    passwords,
    tokens: openTokens({ privateKey: jwt, issuer: 'demo', audience: 'demo', now: clock.now }),
    // What the demo tells of lies in the past: it counts for nobody now.
    throttle: { ...house.services.throttle, check: (_attempt, proves) => proves() },
    mailer: { send: async (mail) => void mailbox.set(mail.to, mail), stop: async () => {} },
  };
  // Not sealed one by one: the sealer's next look takes them together.
  const stage: House = { ...house, services, recorded: () => {} };
  let requests = 0;
  return {
    at: (moment) => {
      micros = moment;
    },
    now: clock.now,
    chance: seededChance(Buffer.from(name).reduce((seed, byte) => seed * 31 + byte, 7)),
    mailTo: (email) => {
      const mail = mailbox.get(email);
      mailbox.delete(email);
      return mail;
    },
    async play(
      mutation: Mutations,
      input: object | undefined,
      { request, token }: Player,
      selection?: string,
    ) {
      const context = await openContext(stage, {
        request: { ...request, id: `demo-${name}-${++requests}`, transport: 'HTTP', forwardedFor: null },
        authenticate: () => actorOf(house.db, services, token),
      });
      try {
        const { data, errors } = await execute({
          schema,
          document: documentOf(mutation, input !== undefined, selection),
          contextValue: context,
          variableValues: { input },
        });
        const payload: Payload | undefined = data?.[mutation] ?? undefined;
        return { payload, refused: errors?.[0]?.message };
      } finally {
        await context.settle();
        // Mail goes out once the answer is on its way.
        await turnOfTheLoop();
      }
    },
  };
}

const documents = new Map<string, DocumentNode>();

function documentOf(mutation: Mutations, hasInput: boolean, selection = 'receipts { id }'): DocumentNode {
  const name = `${mutation[0]!.toUpperCase()}${mutation.slice(1)}`;
  const text = hasInput
    ? `mutation ${name}($input: ${name}Input!) { ${mutation}(input: $input) { ${selection} } }`
    : `mutation ${name} { ${mutation} { ${selection} } }`;
  const document = documents.get(text) ?? parse(text);
  documents.set(text, document);
  return document;
}
