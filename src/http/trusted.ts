import type { FastifyRequest } from 'fastify';

import type { Named, TrustedDocuments } from '../graphql/trustedDocuments.ts';

/** Puts the trusted text in the place of what a request names it by. Throws a GraphQLError where it is none. */
export function withTrustedText(request: FastifyRequest, documents: TrustedDocuments): void {
  if (request.method === 'POST') {
    const named: Named = request.body ?? {};
    const { extensions: _id, documentId: _too, ...operation } = named;
    request.body = { ...operation, query: documents.textOf(named) };
    return;
  }
  const url = new URL(request.url, 'http://localhost');
  const { query, documentId, extensions } = Object.fromEntries(url.searchParams);
  const text = documents.textOf({ query, documentId, extensions: extensions && jsonIn(extensions) });
  for (const name of ['documentId', 'extensions']) url.searchParams.delete(name);
  url.searchParams.set('query', text);
  request.raw.url = `${url.pathname}${url.search}`;
}

function jsonIn(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
