/** Trusted documents: the operations of known clients, fixed when these were built; no other is carried out. */
import { readFile } from 'node:fs/promises';

import { GraphQLError } from 'graphql';
import { z } from 'zod';

import { settingFault } from '../platform/settings.ts';

/** What names an operation: its text, or its id in the manifest. */
export interface Named {
  readonly query?: unknown;
  /** As the GraphQL over HTTP specification has it (appendix, Persisted Documents). */
  readonly documentId?: unknown;
  readonly extensions?: unknown;
}

export interface TrustedDocuments {
  /** The text of the operation that is meant. Throws a GraphQLError for one that is not in the manifest. */
  textOf(operation: Named): string;
}

/** The id as Apollo's clients send it. */
const Extensions = z.object({ persistedQuery: z.object({ sha256Hash: z.string() }) });

/** From id to text, as codegen's client preset writes it; or as Apollo's generator does. */
const Manifest = z.union([
  z
    .object({
      format: z.literal('apollo-persisted-query-manifest'),
      operations: z.array(z.object({ id: z.string(), body: z.string() })),
    })
    .transform(({ operations }) => Object.fromEntries(operations.map(({ id, body }) => [id, body]))),
  z.record(z.string(), z.string()),
]);

/** Reads a manifest. Rejects with a SettingsError when it is none. */
export async function readTrustedDocuments(file: string): Promise<TrustedDocuments> {
  const texts = new Map(Object.entries(await manifestIn(file)));
  const trusted = new Set(texts.values());
  return {
    textOf({ query, documentId, extensions }) {
      const { data } = Extensions.safeParse(extensions);
      const id = documentId ?? data?.persistedQuery.sha256Hash;
      const text = typeof id === 'string' ? texts.get(id) : query;
      if (typeof text === 'string' && trusted.has(text)) return text;
      throw untrusted(
        typeof id === 'string'
          ? `No trusted document has the id ${JSON.stringify(id.slice(0, 100))}.`
          : 'The document is not among those that this server trusts.',
      );
    },
  };
}

async function manifestIn(file: string): Promise<Record<string, string>> {
  try {
    return Manifest.parse(JSON.parse(await readFile(file, 'utf8')));
  } catch (cause) {
    const why = cause instanceof z.ZodError ? 'it maps no ids to texts' : (cause as Error).message;
    throw settingFault('trustedDocuments', `${file}: ${why}`);
  }
}

function untrusted(fault: string): GraphQLError {
  const cure = 'Send one of the client’s manifest, by its text or its id; TRUSTED_DOCUMENTS names the file.';
  return new GraphQLError(`${fault} ${cure}`, { extensions: { code: 'BAD_USER_INPUT' } });
}
