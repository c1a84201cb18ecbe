/** How requests outside of /graphql are refused. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { GraphQLError } from 'graphql';

import type { ErrorCode } from '../generated/types.ts';
import { isInternal, presentedError } from '../graphql/errors.ts';

/** The statuses of refusals; everything else is our fault. */
const STATUS: Readonly<Partial<Record<ErrorCode, number>>> = {
  BAD_USER_INPUT: 400,
  BAD_CURSOR: 400,
  QUERY_TOO_COMPLEX: 400,
  UNAUTHENTICATED: 401,
  FORBIDDEN: 403,
  NOT_FOUND: 404,
  RATE_LIMITED: 429,
};

/** Answers with the refusal, in the form of GraphQL's errors. */
export async function refuse(
  request: FastifyRequest,
  reply: FastifyReply,
  cause: unknown,
): Promise<FastifyReply> {
  const { message, extensions = {} } = presentedError(logged(request, cause), request.id);
  const { code, retryAfterSeconds } = extensions as { code: ErrorCode; retryAfterSeconds?: number };
  const status = STATUS[code] ?? 500;
  if (status === 401) void reply.header('www-authenticate', 'Bearer');
  if (retryAfterSeconds !== undefined) void reply.header('retry-after', retryAfterSeconds);
  return await reply.code(status).send({ errors: [{ message, extensions }] });
}

/** The same error, of which the log has heard if it is a bug. */
export function logged(request: FastifyRequest, cause: unknown): unknown {
  const err = cause instanceof GraphQLError ? (cause.originalError ?? cause) : cause;
  if (isInternal(cause)) request.log.error({ err, requestId: request.id }, 'an operation failed');
  return cause;
}
