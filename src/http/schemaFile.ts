import { readFileSync } from 'node:fs';

import type { FastifyInstance, FastifyRequest } from 'fastify';

import { sha256 } from '../platform/crypto.ts';

/** Printed by `npm run generate`; the same path from src/ and from dist/. */
const PRINTED = new URL('../../client/schema.graphql', import.meta.url);

/**
 * Serves the printed schema at `/schema.graphql`, for code generators, to those who may see it. Its ETag is of its bytes: it is
 * sent when it has changed.
 */
export function serveSchemaFile(
  app: FastifyInstance,
  maySee: (request: FastifyRequest) => Promise<boolean>,
): void {
  const schema = readFileSync(PRINTED);
  const etag = `"${sha256(schema).toString('base64url')}"`;
  app.get('/schema.graphql', async (request, reply) => {
    void reply.headers({ vary: 'authorization', 'x-content-type-options': 'nosniff' });
    void reply.type('text/plain; charset=utf-8');
    if (!(await maySee(request))) return await reply.code(403).send('The schema is not shown to you.');
    void reply.headers({ etag, 'cache-control': 'no-cache' });
    if (isKnown(request.headers['if-none-match'], etag)) return await reply.code(304).send();
    return await reply.send(schema);
  });
}

/** RFC 9110, 13.1.2: a list of tags, weak ones among them, or `*`. */
function isKnown(ifNoneMatch: string | undefined, etag: string): boolean {
  const tags = ifNoneMatch?.split(',').map((tag) => tag.trim().replace(/^W\//, '')) ?? [];
  return tags.includes(etag) || tags.includes('*');
}
