/** The files of exports, for whoever has a link to one and a session that has not ended. */
import { Readable } from 'node:stream';

import type { FastifyInstance } from 'fastify';

import { exportKey, fileOf } from '../archive/exportFile.ts';
import { exportOf } from '../archive/exports.ts';
import { FILE_FORMATS } from '../archive/fileFormats.ts';
import { openLink } from '../archive/links.ts';
import { actorOfSession } from '../auth/principal.ts';
import { type House, openContext } from '../graphql/context.ts';
import type { TrustedProxies } from './address.ts';
import { refuse } from './refusal.ts';
import { requestFacts } from './request.ts';
import { SENDS_A_FILE } from './sending.ts';

export interface ExportsOptions {
  readonly house: House;
  readonly trusted: TrustedProxies;
}

/** Serves GET /exports/ID?link=...; what is not there, not yet or not any more, or not for the session, is not found. */
export function serveExports(app: FastifyInstance, { house, trusted }: ExportsOptions): void {
  const { db, services } = house;
  app.get('/exports/:id', SENDS_A_FILE, async (request, reply) => {
    try {
      const { id } = request.params as { id: string };
      const { link: text = '' } = request.query as { link?: string };
      const link = typeof text === 'string' ? openLink(services, text) : undefined;
      if (link?.exportId !== id) return reply.callNotFound();
      const context = await openContext(house, {
        request: requestFacts(request.raw, { id: request.id, transport: 'HTTP', trusted }),
        authenticate: () => actorOfSession(db, services, link),
      });
      context.demand('AUDIT_EXPORT');
      const found = await context.read((scope) => exportOf(scope, id));
      await context.settle();
      if (found?.state !== 'DONE') return reply.callNotFound();
      const { extension, mediaType } = FILE_FORMATS[found.format];
      return await reply
        .headers({
          'cache-control': 'private, no-store',
          'content-disposition': `attachment; filename="audit-log-${found.createdAt.slice(0, 10)}-${id}.${extension}"`,
          'referrer-policy': 'no-referrer',
        })
        .type(mediaType)
        .send(Readable.from(fileOf(db, exportKey(services), found), { objectMode: false }));
    } catch (cause) {
      return await refuse(request, reply, cause);
    }
  });
}
