import cors from '@fastify/cors';
import helmet from '@fastify/helmet';
import type { FastifyInstance, FastifyRequest } from 'fastify';

import type { ErrorCode } from '../generated/types.ts';

const PREFLIGHT_SECONDS = 600;

export interface HardenedOptions {
  /** Web origins besides its own whose pages may read its answers. */
  readonly corsOrigins: readonly string[];
  /** Whether users reach it by https alone. */
  readonly isSecure: boolean;
}

/**
 * What every answer of the server has: headers that keep browsers from doing more with it than they must (OWASP Secure Headers),
 * CORS for the pages of named origins only, and errors in the form of GraphQL's, whatever went wrong before or beside it.
 */
export async function hardened(
  app: FastifyInstance,
  { corsOrigins, isSecure }: HardenedOptions,
): Promise<void> {
  await app.register(helmet, {
    // An API shows nothing; the explorer has a policy of its own.
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        defaultSrc: ["'none'"],
        frameAncestors: ["'none'"],
        baseUri: ["'none'"],
        formAction: ["'none'"],
      },
    },
    referrerPolicy: { policy: 'no-referrer' },
    crossOriginResourcePolicy: { policy: 'same-origin' },
    hsts: isSecure ? { maxAge: 31_536_000 } : false,
  });
  await app.register(cors, {
    origin: corsOrigins.length > 0 ? [...corsOrigins] : false,
    methods: ['GET', 'POST'],
    exposedHeaders: ['x-request-id', 'retry-after', 'custos-next-cursor', 'custos-has-more'],
    maxAge: PREFLIGHT_SECONDS,
  });
  app.setNotFoundHandler(async (request, reply) => {
    await reply
      .code(404)
      .send(faultBody(request, `There is nothing at ${request.url.split('?', 1)[0]}.`, 'NOT_FOUND'));
  });
  app.setErrorHandler<Error & { readonly statusCode?: number; readonly code?: string }>(
    async (error, request, reply) => {
      const status = error.statusCode ?? 500;
      if (error.code === 'FST_ERR_HANDLER_TIMEOUT') {
        const message = 'The request was not answered in time: ask for less at once.';
        return await reply.code(503).send(faultBody(request, message, 'QUERY_TOO_COMPLEX'));
      }
      if (status < 500) return await reply.code(status).send(faultBody(request, error.message));
      request.log.error({ err: error, requestId: request.id }, 'a request failed');
      const message = 'Something went wrong on our side. Quote the request id.';
      return await reply.code(500).send(faultBody(request, message, 'INTERNAL_SERVER_ERROR'));
    },
  );
}

/** An answer to a request that never became an operation. */
export function faultBody({ id }: FastifyRequest, message: string, code: ErrorCode = 'BAD_USER_INPUT') {
  const reason = code === 'INTERNAL_SERVER_ERROR' ? 'INTERNAL' : 'INVALID_INPUT';
  return { errors: [{ message, extensions: { code, reason, requestId: id } }] };
}
