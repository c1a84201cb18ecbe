import { existsSync } from 'node:fs';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import fastifyStatic from '@fastify/static';
import type { FastifyInstance } from 'fastify';

/** Built by the console's workspace; the same path from src/ and from dist/. */
const BUNDLE = fileURLToPath(new URL('../../console/dist/explorer/', import.meta.url));
const PAGE = 'index.html';

/**
 * Nothing that this origin did not serve. Styles are the exception: the editor writes `style` elements and attributes.
 * 'self' covers the WebSocket, which is of the same host (CSP 3).
 */
const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data:",
  "font-src 'self' data:",
  "connect-src 'self'",
  "worker-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

/**
 * Serves the GraphQL explorer at `/graphiql` and its files below, precompressed. The page is revalidated each time; its
 * files have their hash in their name and are kept for ever. Answers 503 while the bundle is not built.
 */
export async function serveExplorer(app: FastifyInstance): Promise<void> {
  await app.register(async (scope) => {
    scope.addHook('onRequest', async (_request, reply) => {
      void reply.headers({
        'content-security-policy': CONTENT_SECURITY_POLICY,
        'x-content-type-options': 'nosniff',
        'referrer-policy': 'no-referrer',
      });
    });

    if (!existsSync(BUNDLE + PAGE)) {
      scope.get('/graphiql', (_request, reply) =>
        reply
          .code(503)
          .type('text/plain; charset=utf-8')
          .send('The explorer is not built: run npm run build.'),
      );
      return;
    }

    await scope.register(fastifyStatic, {
      root: BUNDLE,
      prefix: '/graphiql/',
      preCompressed: true,
      // send's own header would be the same for the page and its files.
      cacheControl: false,
      setHeaders: (response, path) => {
        const isPage = basename(path).startsWith(PAGE);
        void response.setHeader('cache-control', isPage ? 'no-cache' : 'public, max-age=31536000, immutable');
        void response.setHeader('vary', 'accept-encoding');
      },
    });
    scope.get('/graphiql', (_request, reply) => reply.sendFile(PAGE));
  });
}
